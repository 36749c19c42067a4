"""A random student small enough for a test, and a world to play it in."""

from dataclasses import dataclass, field
from typing import Any

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NO_SYSTEM = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] | trim + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
EMPTY_THOUGHT = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n\n</think>\n\n' }}{% endif %}"
)
# As Qwen3's: thoughts of earlier answers are dropped, the answer after the last question gets one, empty if need be.
THOUGHTS_OF_THE_LAST = (
    "{% set ns = namespace(last=0) %}"
    "{% for message in messages %}{% if message['role'] == 'user' %}{% set ns.last = loop.index0 %}{% endif %}"
    "{% endfor %}{% for message in messages %}{% set said = message['content'].split('</think>')[-1].lstrip('\n') %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' and loop.index0 > ns.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ said + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{% endif %}"
)
# As Mistral's: the system text goes with the last question, whichever that is; nothing opens an answer.
SYSTEM_MOVES = (
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST]' }}"
    "{% if loop.last and messages[0]['role'] == 'system' %}{{ messages[0]['content'] + '\n\n' }}{% endif %}"
    "{{ message['content'] + '[/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + '<|im_end|>' }}{% endif %}{% endfor %}"
)
# As gpt-oss's: an answer opens with more than what asks for it.
OPENS_WITH_MORE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|channel|>final' }}{% endif %}"
    "{{ '<|message|>' + message['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant' }}{% endif %}"
)
DATED = "{{ '<|im_start|>system\nToday is ' + strftime_now('%d %b %Y') + '<|im_end|>\n' }}" + CHATML
FORGETS = (  # all but the last two messages
    "{% for message in messages[-2:] %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] }}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
COUNTS = (  # every answer has its number, the first one's in the opening
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + loop.index|string + '\n' }}"
    "{{ message['content'] }}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tokenizer(template: str | None = CHATML, eos: str = "<|im_end|>", words: tuple[str, ...] = ()) -> Any:
    """Byte-level, with ChatML's control tokens, and `words` that are tokens though not called special."""
    from mlx_lm.tokenizer_utils import TokenizerWrapper
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={text: i for i, text in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    inner.add_special_tokens([eos])
    inner.add_tokens(list(words))
    made = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=eos)
    made.chat_template = template
    return TokenizerWrapper(made)


def model(seed: int = 0, vocabulary: int = 258) -> Any:
    import mlx.core as mx
    from mlx.utils import tree_map
    from mlx_lm.models.llama import Model, ModelArgs

    mx.random.seed(seed)
    made = Model(
        ModelArgs(
            model_type="llama",
            hidden_size=32,
            num_hidden_layers=2,
            intermediate_size=64,
            num_attention_heads=4,
            num_key_value_heads=2,
            rms_norm_eps=1e-5,
            vocab_size=vocabulary,
        )
    )
    # Larger weights than the usual ones, so that greedy answers differ from context to context.
    made.update(tree_map(lambda p: mx.random.normal(p.shape) * 0.3 if p.ndim > 1 else p, made.parameters()))
    mx.eval(made.parameters())
    return made


@dataclass
class TinyStudent:
    model: Any
    tokenizer: Any
    name: str = "tiny"
    adapter: None = None
    adapter_record: dict[str, Any] = field(default_factory=dict)


@dataclass
class Echo:
    """Answers every action with its length; over after `length` actions, won when `length` is even."""

    id: str
    length: int
    split: str = "train"
    task: str = "say something"
    acted: list[str] = field(default_factory=list)

    def reset(self) -> str:
        self.acted = []
        return f"A room of {self.id}. {'Walls. ' * self.length}"

    def step(self, action: str) -> str:
        self.acted.append(action)
        return f"You said {len(action)} letters, {len(self.acted)} times."

    @property
    def done(self) -> bool:
        return len(self.acted) >= self.length

    @property
    def won(self) -> bool:
        return self.done and self.length % 2 == 0

    @property
    def score(self) -> float:
        return float(self.won)
