"use strict";
// Whatever comes out of the data goes into the page as text (`textContent`), never as markup.
(() => {
  const at = (id) => document.getElementById(id);
  const ANY = "";

  function make(tag, text, name) {
    const element = document.createElement(tag);
    if (text !== undefined && text !== null) element.textContent = text;
    if (name) element.className = name;
    return element;
  }

  // -- colours --------------------------------------------------------------------------------------------------

  const theme = at("theme");
  const KEPT = "duomem-mlx-report-theme";
  function paint() {
    if (theme.value) document.documentElement.dataset.theme = theme.value;
    else delete document.documentElement.dataset.theme;
  }
  try { theme.value = localStorage.getItem(KEPT) || ""; } catch { /* a page from a file may have no storage */ }
  paint();
  theme.addEventListener("change", () => {
    paint();
    try { localStorage.setItem(KEPT, theme.value); } catch { /* then it holds until the page is closed */ }
  });

  // -- the data -------------------------------------------------------------------------------------------------

  async function read() {
    const text = atob(at("data").textContent);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  function searched(game) {
    const parts = [game.id, game.task, game.type];
    for (const episode of Object.values(game.episodes))
      for (const step of episode.steps) parts.push(step[0], step[1]);
    return parts.join("\n").toLowerCase();
  }

  // -- which games ----------------------------------------------------------------------------------------------

  let data, shown = [], game = null, step = 0;

  function choose(select, pairs, groups) {
    const kept = select.value;
    select.replaceChildren();
    const add = (parent, [value, text]) => {
      const option = make("option", text);
      option.value = value;
      parent.append(option);
    };
    for (const pair of pairs) add(select, pair);
    for (const [title, members] of groups || []) {
      if (!members.length) continue;
      const group = document.createElement("optgroup");
      group.label = title;
      for (const pair of members) add(group, pair);
      select.append(group);
    }
    select.value = kept;
    if (select.selectedIndex < 0) select.selectedIndex = 0;
  }

  const arm = () => at("arm").value;
  const beside = () => at("beside").value;
  const won = (one, label) => one.episodes[label]?.won;
  const score = (episode) => (episode.score === null ? null : `score ${episode.score.toFixed(2)}`);

  function outcomes() {
    const a = arm(), b = beside();
    const alone = [["won", "won"], ["lost", "not won"]];
    const both = [["a", `won by ${a} alone`], ["b", `won by ${b} alone`], ["both", "won by both"], ["neither", "won by neither"]];
    choose(at("outcome"), [[ANY, "any"], ...alone, ...(b ? both : [])]);
  }

  function whys() {
    const found = { cause: new Map(), manner: new Map() };
    for (const one of data.games) {
      const episode = one.episodes[arm()];
      for (const key of ["cause", "manner"])
        if (episode?.[key]) found[key].set(episode[key], (found[key].get(episode[key]) || 0) + 1);
    }
    const members = (key) => [...found[key]].sort((x, y) => y[1] - x[1]).map(([name, n]) => [`${key}:${name}`, `${name} (${n})`]);
    choose(at("why"), [[ANY, "any"]], [["What was missing", members("cause")], ["In what manner", members("manner")]]);
  }

  function fits(one) {
    const episode = one.episodes[arm()], other = one.episodes[beside()];
    if (!episode) return false;
    const outcome = at("outcome").value, why = at("why").value, type = at("type").value;
    if (type !== ANY && `t${one.type}` !== type) return false;
    const w = episode.won, v = other?.won;
    if (outcome === "won" && !w || outcome === "lost" && w) return false;
    if (["a", "b", "both", "neither"].includes(outcome) && !other) return false;
    if (outcome === "a" && !(w && !v) || outcome === "b" && !(v && !w)) return false;
    if (outcome === "both" && !(w && v) || outcome === "neither" && (w || v)) return false;
    if (why !== ANY && `cause:${episode.cause}` !== why && `manner:${episode.manner}` !== why) return false;
    const words = at("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    return words.every((word) => one.text.includes(word));
  }

  function list() {
    shown = data.games.filter(fits);
    const options = shown.map((one, i) => {
      const told = (label) => {
        const episode = one.episodes[label];
        return episode ? [episode.won ? "won" : "not won", score(episode)].filter(Boolean).join(", ") : "not played";
      };
      const verdict = beside() ? `${told(arm())} / ${told(beside())}` : told(arm());
      const option = make("option", `${won(one, arm()) ? "✓" : "✗"} ${one.task} · ${verdict} · ${one.type.replaceAll("_", " ")} · ${one.id}`);
      option.value = String(i);
      return option;
    });
    at("games").replaceChildren(...options);
    at("count").textContent = `${shown.length} of ${data.games.length} games`;
    const kept = shown.indexOf(game);
    at("games").selectedIndex = shown.length ? Math.max(0, kept) : -1;
    pick(kept < 0);
  }

  function pick(fresh) {
    game = shown[at("games").selectedIndex] || null;
    if (fresh) step = 0;
    show(false);
  }

  // -- one game -------------------------------------------------------------------------------------------------

  const sides = () => [arm(), beside()].filter((label) => label && game?.episodes[label]);
  const length = () => Math.max(0, ...sides().map((label) => game.episodes[label].steps.length));

  function show(speak) {
    at("stage").hidden = !game;
    if (!game) return;
    step = Math.min(Math.max(0, step), length());
    at("task").textContent = game.task;
    at("game").textContent = [game.type.replaceAll("_", " "), game.id].filter(Boolean).join(" · ");
    const where = step ? `Step ${step} of ${length()}` : `Opening, before ${length()} steps`;
    at("where").textContent = where;
    at("slider").max = String(length());
    at("slider").value = String(step);
    at("slider").setAttribute("aria-valuetext", where);
    at("first").disabled = at("back").disabled = step === 0;
    at("last").disabled = at("on").disabled = step === length();
    const open = new Map([...document.querySelectorAll("#sides details[data-key]")].map((d) => [d.dataset.key, d.open]));
    at("sides").replaceChildren(...sides().map((label, i) => side(label, i, open)));
    if (speak) at("said").textContent = `${where}. ${sides().map(heard).join(" ")}`;
  }

  function heard(label) {
    const one = game.episodes[label].steps[step - 1];
    const name = sides().length > 1 ? `${label}: ` : "";
    if (!step) return `${name}${game.episodes[label].opening}`;
    return one ? `${name}${one[0] || "no action"}. ${one[2].join(", ")} ${one[1]}` : `${name}over.`;
  }

  function go(to, from) {
    step = to;
    show(true);
    if (from?.disabled) at("stage").focus({ preventScroll: true });
  }

  function side(label, place, open) {
    const episode = game.episodes[label], box = make("article", null, "side");
    const head = make("header");
    const title = make("h4", label);
    title.id = `side-${place}`;
    box.setAttribute("aria-labelledby", title.id);
    head.append(title, make("span", episode.won ? "won" : "not won", `badge ${episode.won ? "won" : "lost"}`));
    const facts = [score(episode), `${episode.steps.length} steps`, episode.seconds === null ? null : `${episode.seconds.toFixed(1)} s`];
    head.append(make("span", facts.filter(Boolean).join(", "), "quiet"));
    box.append(head);
    if (!episode.won) box.append(make("p", [episode.cause, episode.manner].filter(Boolean).join("; "), "quiet"));
    box.append(...(step ? turn(episode) : opening(episode)));
    box.append(memories(episode, `memories-${place}`, open), all(episode, `all-${place}`, open));
    return box;
  }

  function labelled(label, text, name) {
    return [make("span", label, "label"), make("p", text, `text ${name || ""}`)];
  }

  function opening(episode) {
    return labelled("What it is told first", episode.opening);
  }

  function turn(episode) {
    const one = episode.steps[step - 1];
    if (!one) return [make("p", `It was over after ${episode.steps.length} steps.`, "quiet")];
    const [action, observation, flags, anew, cached, out, seconds, thought] = one;
    const before = step > 1 ? episode.steps[step - 2][1] : episode.opening;
    const parts = labelled("What it saw", before);
    if (thought) parts.push(...labelled("What it thought", thought));
    parts.push(...labelled("What it did", action || "(no action)", "act"), ...labelled("What came of it", observation));
    const last = step === episode.steps.length;
    const badges = make("div", null, "flags");
    for (const flag of flags) badges.append(make("span", flag.replaceAll("_", " "), "badge lost"));
    if (last) badges.append(make("span", episode.won ? "game won" : `game over: ${episode.end}`, `badge ${episode.won ? "won" : "lost"}`));
    if (badges.childElementCount) parts.push(badges);
    if (out) parts.push(make("p", `${anew} tokens read anew, ${cached} from the cache, ${out} written${seconds === null ? "" : `, ${seconds.toFixed(2)} s`}`, "quiet"));
    return parts;
  }

  function folded(title, key, open) {
    const box = make("details");
    box.dataset.key = key;
    box.open = open.get(key) || false;
    box.append(make("summary", title));
    return box;
  }

  function memories(episode, key, open) {
    if (!episode.memories.length) return make("p", "No memories in its prompt.", "quiet");
    const box = folded(`Memories in its prompt (${episode.memories.length})`, key, open), items = make("ol");
    episode.memories.forEach(([id, cosine], i) => {
      const item = make("li"), known = data.memories[id];
      const title = `${known ? known.task : id}${cosine === null ? "" : ` · cosine ${cosine.toFixed(3)}`}`;
      if (known) {
        const text = folded(title, `${key}-${i}`, open);
        text.append(...labelled("What it says", known.script), ...labelled("The steps it was made from", known.steps.join("\n"), "quiet"));
        text.append(make("p", `${id}, of ${known.of}`, "quiet"));
        item.append(text);
      } else item.append(make("span", title));
      items.append(item);
    });
    box.append(items);
    return box;
  }

  function all(episode, key, open) {
    const box = folded("The whole game", key, open), items = make("ol", null, "all");
    episode.steps.forEach((one, i) => {
      const item = make("li");
      const button = make("button", `${one[0] || "(no action)"}${one[2].length ? ` — ${one[2].join(", ").replaceAll("_", " ")}` : ""}`);
      button.type = "button";
      if (i + 1 === step) button.setAttribute("aria-current", "step");
      button.addEventListener("click", () => {
        go(i + 1);
        document.querySelectorAll(`details[data-key="${key}"] ol.all button`)[i]?.focus({ preventScroll: true });
      });
      item.append(button);
      items.append(item);
    });
    box.append(items);
    return box;
  }

  // -- putting it together --------------------------------------------------------------------------------------

  function begin(found) {
    data = found;
    for (const one of data.games) one.text = searched(one);
    const labels = data.arms.map((label) => [label, label]);
    choose(at("arm"), labels);
    choose(at("beside"), [[ANY, "nothing"], ...labels]);
    const usual = ["duomem", "adapter", "memories"].map((name) => new RegExp(`^(.*: )?${name}(, seed .*)?$`));
    at("arm").value = usual.map((name) => data.arms.find((label) => name.test(label))).find(Boolean) || data.arms[0];
    const types = [...new Set(data.games.map((one) => one.type))].sort();
    choose(at("type"), [[ANY, "any"], ...types.map((type) => [`t${type}`, type.replaceAll("_", " ") || "none"])]);
    outcomes();
    whys();
    at("tool").hidden = false;
    list();
  }

  function listen() {
    const changed = () => { outcomes(); whys(); list(); };
    at("arm").addEventListener("change", changed);
    at("beside").addEventListener("change", changed);
    for (const id of ["outcome", "type", "why"]) at(id).addEventListener("change", list);
    at("search").addEventListener("input", list);
    at("filters").addEventListener("submit", (event) => event.preventDefault());
    at("clear").addEventListener("click", (event) => {
      event.preventDefault();
      at("search").value = "";
      for (const id of ["outcome", "type", "why", "beside"]) at(id).selectedIndex = 0;
      changed();
    });
    at("games").addEventListener("change", () => pick(true));
    at("slider").addEventListener("input", () => go(Number(at("slider").value)));
    const buttons = { first: () => 0, back: () => step - 1, on: () => step + 1, last: () => length() };
    for (const [id, to] of Object.entries(buttons)) at(id).addEventListener("click", () => go(to(), at(id)));
    const keys = { ArrowLeft: buttons.back, ArrowRight: buttons.on, Home: buttons.first, End: buttons.last };
    at("stage").addEventListener("keydown", (event) => {
      if (event.target === at("slider") || event.altKey || event.ctrlKey || event.metaKey || !(event.key in keys)) return;
      event.preventDefault();
      const held = event.target;
      go(keys[event.key](), held);
      if (!held.isConnected) at("stage").focus({ preventScroll: true });
    });
  }

  read().then((found) => {
    listen();
    begin(found);
    document.documentElement.dataset.ready = "yes";
  }).catch((error) => {
    at("trouble").hidden = false;
    at("trouble").textContent = `The episodes cannot be shown by this browser (${error.message}); the tables above are whole.`;
  });
})();
