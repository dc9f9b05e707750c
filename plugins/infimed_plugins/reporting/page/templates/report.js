
"use strict";
(() => {
  const PAGE = 40;
  const WORDS = { r: "right", p: "partly", w: "wrong", u: "unscored", e: "no answer" };
  const $ = (id) => document.getElementById(id);
  const data = { head: null, pictures: [], questions: [], answers: [] };
  const state = { found: [], page: 0, open: null };
  const TAGS = ["modality", "task_type", "kind", "form"];

  // Text of the data reaches the page through textContent alone.
  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined && text !== null) element.textContent = String(text);
    return element;
  };

  const picture = (element, number) => {
    element.classList.add("picture");
    const link = data.head.links[number], fault = data.head.faults[number], source = data.pictures[number];
    if (link && link.startsWith("./")) { element.href = link; element.target = "_blank"; element.rel = "noopener noreferrer"; }
    if (typeof source === "string" && source.startsWith("data:image/jpeg;base64,")) {
      const image = make("img"); image.src = source; image.alt = "image " + (number + 1); image.loading = "lazy"; element.replaceChildren(image);
    } else {
      element.classList.add(fault ? "broken" : "linked");
      element.textContent = fault ? "no picture" : link ? "open image" : "not embedded";
      if (fault) element.title = fault;
    }
    return element;
  };

  // Boxes and points in shares of the picture; the drawing is fitted into its square as the picture itself is.
  const drawPlaces = (element, wanted, said) => {
    const image = element.querySelector("img");
    if (!image) return;
    const space = "http://www.w3.org/2000/svg", svg = document.createElementNS(space, "svg");
    const draw = () => {
      const width = image.naturalWidth, height = image.naturalHeight;
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      for (const [kind, places] of [["wanted", wanted], ["said", said]])
        for (const place of places) {
          const mark = document.createElementNS(space, place.length === 4 ? "rect" : "circle");
          const values = place.length === 4
            ? { x: place[0] * width, y: place[1] * height, width: (place[2] - place[0]) * width, height: (place[3] - place[1]) * height }
            : { cx: place[0] * width, cy: place[1] * height, r: Math.max(width, height) / 40 };
          for (const [name, value] of Object.entries(values)) mark.setAttribute(name, value);
          mark.setAttribute("class", kind);
          svg.append(mark);
        }
    };
    svg.setAttribute("class", "places"); svg.setAttribute("aria-hidden", "true");
    element.append(svg);
    if (image.complete && image.naturalWidth) draw(); else image.addEventListener("load", draw);
  };

  // ---- the state in the address -------------------------------------------------------------------------------
  const form = $("filters");
  const parameters = () => new URLSearchParams(location.hash.startsWith("#browse?") ? location.hash.slice(8) : "");
  const writeAddress = () => {
    const next = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (value) next.set(name, value);
    if (state.page) next.set("page", state.page + 1);
    if (state.open !== null) next.set("answer", state.open);
    const text = next.toString();
    history.replaceState(null, "", text ? "#browse?" + text : "#browse");
  };
  const readAddress = () => {
    const wanted = parameters();
    for (const field of form.elements) if (field.name) {
      field.value = wanted.get(field.name) || "";
      if (field.value === "" && field.tagName === "SELECT") field.selectedIndex = 0;
    }
    filter();
    state.page = Math.min(Math.max(parseInt(wanted.get("page") || "1", 10) - 1 || 0, 0), Math.max(numPages() - 1, 0));
    const key = wanted.get("answer");
    if (key) {
      const place = state.found.findIndex((index) => keyOf(index) === key);
      if (place >= 0) { state.page = Math.floor(place / PAGE); state.open = key; }
    }
    show();
    if (location.hash.startsWith("#browse?")) {
      const opened = key && document.querySelector('#list .row[aria-expanded="true"]');
      (opened || $("browse")).scrollIntoView();
      if (opened) opened.focus({ preventScroll: true });
    }
  };
  const keyOf = (index) => {
    const answer = data.answers[index], question = data.questions[answer[0]];
    return [data.head.benchmarks[question[0]], data.head.models[answer[1]], question[1]].join("|");
  };

  // ---- filters ------------------------------------------------------------------------------------------------
  const options = (select, entries) => {
    select.replaceChildren(...entries.map(([value, text]) => { const one = make("option", "", text); one.value = value; return one; }));
  };
  let texts = null;
  const searchable = (index) => {
    texts ||= new Array(data.answers.length);
    if (texts[index] === undefined) {
      const answer = data.answers[index], question = data.questions[answer[0]];
      texts[index] = [question[1], ...question[2].map((turn) => turn[1]), ...question[3], ...question[4], answer[2], answer[3]].join("\n").toLowerCase();
    }
    return texts[index];
  };
  let byQuestion = null;
  const answersTo = (question) => {
    if (!byQuestion) {
      byQuestion = data.questions.map(() => []);
      data.answers.forEach((answer, index) => byQuestion[answer[0]].push(index));
    }
    return byQuestion[question];
  };
  const filter = () => {
    const wanted = Object.fromEntries(new FormData(form));
    const benchmark = wanted.benchmark ? data.head.benchmarks.indexOf(wanted.benchmark) : -1;
    const model = wanted.model ? data.head.models.indexOf(wanted.model) : -1;
    const [otherModel, otherVerdict] = wanted.other ? [parseInt(wanted.other.slice(1), 10), wanted.other[0]] : [-1, ""];
    const tags = TAGS.filter((tag) => wanted["tag-" + tag]).map((tag) => [tag, wanted["tag-" + tag]]);
    const search = (wanted.q || "").trim().toLowerCase();
    state.found = [];
    data.answers.forEach((answer, index) => {
      const question = data.questions[answer[0]];
      if (benchmark >= 0 && question[0] !== benchmark) return;
      if (model >= 0 && answer[1] !== model) return;
      if (wanted.verdict === "transcript" ? !answer[10] : wanted.verdict === "disagree" ? new Set(answer[4]).size < 2 : wanted.verdict && answer[4][0] !== wanted.verdict) return;
      if (tags.some(([tag, value]) => (question[5][tag] ?? "unlabelled") !== value)) return;
      if (otherModel >= 0 && !answersTo(answer[0]).some((one) => data.answers[one][1] === otherModel && data.answers[one][4][0] === otherVerdict)) return;
      if (search && !searchable(index).includes(search)) return;
      state.found.push(index);
    });
    // The model that a reader came for is first; the sort keeps the order of the questions.
    const isOther = (index) => Number(data.answers[index][1] !== data.head.first);
    if (data.head.first >= 0) state.found.sort((a, b) => isOther(a) - isOther(b));
  };
  const numPages = () => Math.ceil(state.found.length / PAGE);

  // ---- the list -----------------------------------------------------------------------------------------------
  const show = () => {
    const total = state.found.length, ended = new Map();
    for (const index of state.found) { const how = data.answers[index][11]; if (how) ended.set(how, (ended.get(how) || 0) + 1); }
    const ends = [...ended].sort((a, b) => b[1] - a[1]).map(([how, count]) => how + " " + count.toLocaleString("en")).join(", ");
    $("found").textContent = total.toLocaleString("en") + " of " + data.answers.length.toLocaleString("en") + " answers" + (ends ? ". How they ended: " + ends : "");
    $("page").textContent = total ? "page " + (state.page + 1) + " of " + numPages() : "";
    $("previous").disabled = state.page === 0;
    $("next").disabled = state.page + 1 >= numPages();
    const rows = state.found.slice(state.page * PAGE, (state.page + 1) * PAGE).map(row);
    $("list").replaceChildren(...rows);
    if (!total) $("list").replaceChildren(make("li", "empty", data.answers.length ? "No answer matches." : "This run has no graded answers yet."));
  };
  const row = (index) => {
    const answer = data.answers[index], question = data.questions[answer[0]];
    const item = make("li"), button = make("button", "row"), letter = answer[4][0] || "u";
    button.type = "button";
    const asked = question[2].filter((turn) => turn[0] === "user").map((turn) => turn[1]).pop() || "";
    button.append(make("span", "verdict " + letter, WORDS[letter]), make("span", "question", asked.replace(/\[image \d+\] /g, "")),
      make("span", "reply", answer[2] ?? answer[3] ?? ""), make("span", "model", data.head.models[answer[1]]));
    const key = keyOf(index), open = state.open === key;
    button.setAttribute("aria-expanded", String(open));
    item.append(button);
    if (open) item.append(detail(index));
    button.addEventListener("click", () => {
      const opened = button.getAttribute("aria-expanded") === "true";
      for (const other of document.querySelectorAll("#list .detail")) { other.previousSibling.setAttribute("aria-expanded", "false"); other.remove(); }
      state.open = opened ? null : key;
      if (!opened) { button.setAttribute("aria-expanded", "true"); item.append(detail(index)); }
      writeAddress();
    });
    return item;
  };
  const block = (title, ...content) => { const part = make("div"); part.append(make("h4", "", title), ...content); return part; };
  const chip = (name, value) => { const one = make("span", "chip", name + " "); one.append(make("b", "", value)); return one; };
  // Every turn of a solver that asks more than once: by round where it has rounds, else in order.
  const transcript = (turns, calls) => {
    const whole = make("details"), rounds = new Set(turns.map((turn) => turn.round).filter((one) => one !== undefined));
    whole.append(make("summary", "", "Transcript: " + calls + " calls" + (rounds.size ? ", " + rounds.size + " rounds" : "")));
    let round;
    for (const turn of turns) {
      const { role, name, text, content, round: number, conclusion, error, ...rest } = turn;
      if (number !== undefined && number !== round) { round = number; whole.append(make("h5", "", "Round " + number)); }
      const told = make("div", "turn");
      told.append(make("h4", "", role ?? name ?? "turn"), make("div", "text", text ?? content ?? ""));
      const facts = make("div");
      if (error !== undefined) facts.append(make("span", "chip warn", error));
      if (conclusion !== undefined && conclusion !== text) facts.append(chip("concludes", conclusion));
      for (const [key, value] of Object.entries(rest)) facts.append(chip(key.replace(/^num_/, "").replaceAll("_", " "), value));
      if (facts.childNodes.length) told.append(facts);
      whole.append(told);
    }
    return whole;
  };
  const detail = (index) => {
    const answer = data.answers[index], question = data.questions[answer[0]];
    const scorings = data.head.scorings[question[0]], box = make("div", "detail");
    if (question[6].length) {
      const pictures = make("div", "pictures");
      pictures.append(...question[6].map((number) => picture(make("a"), number)));
      if (question[7] || answer[13]) drawPlaces(pictures.firstChild, question[7] || [], answer[13] || []);
      box.append(pictures);
      if (question[7]) box.append(make("p", "muted", "full line: where it is; dashed: what this model says"));
    }
    for (const [role, text] of question[2]) box.append(block(role, make("div", "text", text)));
    if (question[3].length) box.append(block("options", make("div", "text", question[3].map((one, i) => String.fromCharCode(65 + i) + ". " + one).join("\n"))));
    box.append(block("accepted answers", make("div", "text", question[4].join("\n") || "–")));
    const table = make("table"), head = make("tr"), body = make("tbody"), wrap = make("div", "scroll"); wrap.tabIndex = 0;
    for (const title of ["model", "answer", ...scorings]) head.append(make("th", "", title));
    for (const one of answersTo(answer[0])) {
      const other = data.answers[one], line = make("tr", one === index ? "this" : "");
      line.append(make("th", "", data.head.models[other[1]]));
      const text = make("td", "text"), told = other[2] ?? other[3] ?? "";
      if (other[12]) {
        const [start, end] = other[12], read = make("mark", "", told.slice(start, end));
        read.title = "what was read";
        text.append(told.slice(0, start), read, told.slice(end));
      } else text.append(told);
      if (other[11]) text.append(" ", make("span", "chip", "ended: " + other[11]));
      line.append(text);
      scorings.forEach((_, place) => {
        const cell = make("td"), letter = other[4][place] || "u";
        cell.append(make("span", "verdict " + letter, WORDS[letter] + (letter === "p" ? " " + other[5][place] : "")));
        if (other[6][place]) cell.append(make("div", "muted", other[6][place]));
        line.append(cell);
      });
      body.append(line);
    }
    const top = make("thead"); top.append(head); table.append(top, body); wrap.append(table);
    box.append(block("every model's answer and grades", wrap));
    if (answer[10]) box.append(transcript(answer[10], answer[7]));
    const facts = [["id", question[1]], ["benchmark", data.head.benchmarks[question[0]]], ...Object.entries(question[5]),
      ["calls", answer[7]], ["prompt tokens", answer[8]], ["answer tokens", answer[9]]].filter(([, value]) => value !== null && value !== undefined);
    const chips = make("div");
    for (const [name, value] of facts) chips.append(chip(name, value));
    box.append(chips);
    return box;
  };

  // ---- start --------------------------------------------------------------------------------------------------
  const refresh = () => { state.page = 0; state.open = null; filter(); show(); writeAddress(); };
  const turn = (by) => {
    const page = state.page + by;
    if (page < 0 || page >= numPages()) return;
    state.page = page; state.open = null; show(); writeAddress(); $("browse").scrollIntoView();
  };
  const fillFilters = () => {
    const all = (names, title) => [["", title], ...names.map((name) => [name, name])];
    options(form.elements.benchmark, all(data.head.benchmarks, "all"));
    options(form.elements.model, all(data.head.models, "all"));
    options(form.elements.verdict, [["", "all"], ...Object.entries(WORDS), ["disagree", "gradings disagree"],
      ...(data.answers.some((answer) => answer[10]) ? [["transcript", "with a transcript"]] : [])]);
    options(form.elements.other, [["", "any"], ...data.head.models.flatMap((name, number) => [["r" + number, name + " right"], ["w" + number, name + " wrong"]])]);
    for (const tag of TAGS) {
      const values = new Set(data.questions.map((question) => question[5][tag] ?? "unlabelled"));
      if (values.size < 2 && values.has("unlabelled")) continue;
      const label = make("label", "", tag.replace("_", " ")), select = make("select");
      select.name = "tag-" + tag;
      options(select, all([...values].sort(), "all"));
      label.append(select);
      $("tag-filters").append(label);
    }
  };
  const start = () => {
    if (!form) { document.documentElement.dataset.ready = "true"; return; }
    fillFilters();
    let waiting = 0;
    form.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(refresh, 120); });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(refresh));
    $("previous").addEventListener("click", () => turn(-1));
    $("next").addEventListener("click", () => turn(1));
    window.addEventListener("hashchange", () => { if (location.hash.startsWith("#browse?")) readAddress(); });
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
      const rows = [...document.querySelectorAll("#list .row")], place = rows.indexOf(document.activeElement);
      if (event.key === "/") { event.preventDefault(); form.elements.q.focus(); }
      else if (event.key === "j") rows[Math.min(place + 1, rows.length - 1)]?.focus();
      else if (event.key === "k") rows[Math.max(place - 1, 0)]?.focus();
      else if (event.key === "n") turn(1);
      else if (event.key === "p") turn(-1);
    });
    readAddress();
    document.documentElement.dataset.ready = "true";
  };
  const theme = () => {
    let stored = null;
    // A page opened from a file may be refused its storage; the button then works until the page is closed.
    try { stored = localStorage.getItem("infimed-theme"); } catch { /* see above */ }
    if (stored === "dark" || stored === "light") document.documentElement.dataset.theme = stored;
    $("theme").addEventListener("click", () => {
      const dark = getComputedStyle(document.documentElement).colorScheme === "dark";
      document.documentElement.dataset.theme = dark ? "light" : "dark";
      try { localStorage.setItem("infimed-theme", dark ? "light" : "dark"); } catch { /* see above */ }
    });
  };
  const navigation = () => {
    const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
    const watcher = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) {
        for (const link of links.values()) link.removeAttribute("aria-current");
        links.get(entry.target.id)?.setAttribute("aria-current", "true");
      }
    }, { rootMargin: "-20% 0px -70% 0px" });
    for (const section of document.querySelectorAll("main section")) watcher.observe(section);
  };
  // A served page asks its own server whether the run has moved on, and turns to the new state unless someone is reading.
  const follow = () => {
    const here = document.body.dataset.live, told = $("live");
    if (!here) return;
    const reading = () => state.open !== null || /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "") || document.querySelector("details[open]");
    const look = async () => {
      let next = 3000;
      try {
        const reply = await fetch("/version", { cache: "no-store" });
        const found = await reply.json();
        told.classList.remove("stale");
        if (found.version !== here && !reading()) { location.reload(); return; }
        if (found.version !== here) {
          const button = make("button", "", "show what is new");
          button.type = "button";
          button.addEventListener("click", () => location.reload());
          told.replaceChildren(button);
        } else told.textContent = found.status === "running" ? "live" : "live, run " + found.status;
      } catch { told.classList.add("stale"); told.textContent = "the server has stopped"; next = 10000; }
      setTimeout(look, next);
    };
    setTimeout(look, 1500);
  };
  theme();
  navigation();
  follow();
  $("matrix-choice")?.addEventListener("change", (event) => {
    for (const matrix of document.querySelectorAll("[data-matrix]")) matrix.hidden = matrix.dataset.matrix !== event.target.value;
  });

  // One block of data at a time, after the page has been painted, so that a long run does not hold it up.
  const blocks = [...document.querySelectorAll("script[data-block]")];
  const readNext = () => {
    const until = performance.now() + 24;
    while (blocks.length && performance.now() < until) {
      const element = blocks.shift(), content = JSON.parse(element.textContent);
      if (element.dataset.block === "head") data.head = content; else for (const one of content) data[element.dataset.block].push(one);
      element.remove();
      if (data.head && data.pictures.length === data.head.links.length && element.dataset.block !== "questions" && element.dataset.block !== "answers") {
        for (const place of document.querySelectorAll("[data-picture]")) { picture(place, Number(place.dataset.picture)); place.removeAttribute("data-picture"); }
      }
    }
    if (blocks.length) setTimeout(readNext); else start();
  };
  // A page that is opened out of sight gets no frames; it reads its data all the same.
  let begun = false;
  const begin = () => { if (!begun) { begun = true; readNext(); } };
  requestAnimationFrame(() => setTimeout(begin));
  setTimeout(begin, 1000);
})();
