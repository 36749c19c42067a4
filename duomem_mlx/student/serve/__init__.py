"""A student, or another server, behind OpenAI's chat completions, with memories in every prompt."""
