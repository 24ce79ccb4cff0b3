// The inspector: asks for the data again and again and shows it. Whatever a peer wrote goes into the page as text.
"use strict";
(() => {
  const by = (id) => document.getElementById(id);
  const state = { data: null, paused: false, failures: 0, timer: 0, token: "", shown: null };
  const rows = new Map();

  // ---- building blocks

  function element(name, options = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(options)) {
      if (key === "text") made.textContent = value;
      else made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  }

  function drawing(name, attributes) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  function text(node, value) {
    if (node.textContent !== value) node.textContent = value;
  }

  function seconds(value) {
    if (value === null || value === undefined) return "–";
    if (value < 0.0995) return `${(value * 1000).toFixed(1)} ms`;
    if (value < 0.9995) return `${Math.round(value * 1000)} ms`;
    if (value < 60) return `${value.toFixed(2)} s`;
    return span(value);
  }

  function span(value) {
    const whole = Math.floor(value);
    const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
    const first = parts.findIndex(([size]) => whole >= size);
    if (first < 0) return "0 s";
    const [size, unit] = parts[first];
    const [small, smallUnit] = parts[first + 1] ?? [0, ""];
    const rest = small ? Math.floor((whole % size) / small) : 0;
    return `${Math.floor(whole / size)} ${unit}${rest ? ` ${rest} ${smallUnit}` : ""}`;
  }

  function number(value) {
    if (value === null || value === undefined) return "–";
    if (value > 0 && value < 10 && !Number.isInteger(value)) return value.toFixed(1);
    return Math.round(value).toLocaleString("en");
  }

  const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });

  function time(at) {
    const date = new Date(at * 1000);
    return element("time", { datetime: date.toISOString(), text: clock.format(date) });
  }

  function say(words) {
    by("announcer").textContent = words;
  }

  // ---- asking

  async function poll() {
    clearTimeout(state.timer);
    if (state.paused || document.hidden) return;
    const relay = by("relay").value;
    try {
      const answer = await fetch(`inspector/data${relay ? `?relay=${relay}` : ""}`, { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.status === 503 ? "is busy with other viewers" : `answers ${answer.status}`);
      const data = await answer.json();
      if (!state.paused && relay === by("relay").value) {
        back();
        show(data);
      }
    } catch (error) {
      failed(error instanceof TypeError ? "does not answer" : error.message);
    }
    // an answer that came meanwhile for another choice has begun a wait of its own
    clearTimeout(state.timer);
    state.timer = setTimeout(poll, Math.min(1000 * 2 ** state.failures, 10000));
  }

  function failed(what) {
    state.failures += 1;
    const words = `The status server ${what}. What is shown may be old.`;
    text(by("banner"), words);
    by("banner").hidden = false;
    if (state.failures === 1) say(words);
  }

  function back() {
    if (state.failures > 0) say("The status server answers again.");
    state.failures = 0;
    by("banner").hidden = true;
  }

  function pause() {
    state.paused = !state.paused;
    text(by("pause-text"), state.paused ? "Resume" : "Pause");
    by("pause").classList.toggle("paused", state.paused);
    say(state.paused ? "Paused: the page does not change." : "Live again.");
    if (!state.paused) poll();
  }

  // ---- showing

  function show(data) {
    state.data = data;
    showHead(data);
    showTiles(data);
    showRelays(data);
    showChoices(data);
    showRequests();
    showErrors(data);
  }

  function showHead({ status }) {
    text(by("about"), `version ${status.version} · up ${span(status.uptime_seconds)}`);
    const off = status.relays.filter((relay) => relay.state !== "connected").length;
    const [words, look] = !status.running ? ["Draining", "warn"] : off ? [`${off} of ${status.relays.length} not connected`, "bad"]
      : status.relays.length ? ["Connected", "good"] : ["No relay", ""];
    const ready = by("ready");
    const before = ready.textContent;
    text(ready, words);
    ready.className = `pill ${look}`;
    if (before !== "…" && before !== words) say(words);
  }

  /** The figures of all relays, or of the chosen one, added up from their ends. */
  function rates(data, figure) {
    const chosen = by("relay").value;
    const own = Object.entries(data.rates).filter(([name]) => !chosen || name === chosen).map(([, rate]) => rate[figure]);
    const length = Math.max(0, ...own.map((values) => values.length));
    return Array.from({ length }, (_, i) => own.reduce((sum, values) => sum + (values[values.length - length + i] ?? 0), 0));
  }

  function plot(svg, values, words) {
    const width = 150;
    const height = 32;
    const top = Math.max(1e-9, ...values);
    // a young history takes the width that an older one will
    const step = width / Math.max(30, values.length);
    const x = (i) => (width - (values.length - 1 - i) * step).toFixed(2);
    const points = values.map((value, i) => `${x(i)},${(height - (value / top) * (height - 2)).toFixed(2)}`);
    const peak = values.length ? Math.max(...values) : 0;
    if (!svg.firstChild) {
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      svg.setAttribute("preserveAspectRatio", "none");
      svg.append(drawing("path", { class: "area" }), drawing("path", {}));
    }
    const line = points.length > 1 ? `M${points.join("L")}` : "";
    svg.lastChild.setAttribute("d", line);
    svg.firstChild.setAttribute("d", line && `${line}L${width},${height}L${x(0)},${height}Z`);
    const label = `${words} in the last five minutes: now ${number(values.at(-1) ?? 0)}, at most ${number(peak)}`;
    if (svg.getAttribute("aria-label") !== label) svg.setAttribute("aria-label", label);
  }

  function showTiles(data) {
    const perSecond = (figure) => rates(data, figure).map((value) => value / data.rates_interval);
    const recent = (values) => values.slice(-5).reduce((a, b) => a + b, 0) / Math.max(1, Math.min(5, values.length));
    for (const [id, words] of [["answers", "Answers per second"], ["tokens", "Tokens per second"]]) {
      const values = perSecond(id);
      text(by(id), number(recent(values)));
      plot(by(`${id}-plot`), values, words);
    }
    const faults = rates(data, "faults");
    text(by("faults"), number(faults.reduce((a, b) => a + b, 0)));
    plot(by("faults-plot"), faults, `Faults each ${data.rates_interval} seconds`);
    const chosen = by("relay").value;
    const relays = data.status.relays.filter(({ name }) => !chosen || name === chosen);
    const open = relays.reduce((sum, relay) => sum + relay.in_flight + relay.queued, 0);
    text(by("in-flight"), number(open));
    plot(by("in-flight-plot"), [...rates(data, "in_flight").slice(0, -1), open], "Requests under way");
    const times = data.requests.filter((seen) => seen.forward_seconds !== null && seen.status !== null)
      .map((seen) => seen.queue_seconds + seen.forward_seconds).sort((a, b) => a - b);
    const part = (share) => times[Math.min(times.length - 1, Math.floor(times.length * share))];
    text(by("median"), seconds(part(0.5)));
    text(by("slow"), times.length ? `95 of 100 within ${seconds(part(0.95))}, of the last ${times.length}` : "");
  }

  const STATES = {
    connected: ["● connected", "good"], connecting: ["◌ connecting", "warn"], backing_off: ["✕ disconnected", "bad"],
    stopped: ["■ stopped", "bad"], waiting_for_listener: ["◌ waits for Envoy", "warn"], waiting_for_lock: ["◌ waits for another process", "warn"],
    draining: ["▼ draining", "warn"], drained: ["▼ drained", "warn"],
  };

  const FIGURES = [
    ["at the model", (relay) => number(relay.in_flight)],
    ["queued", (relay) => number(relay.queued)],
    ["not acknowledged", (relay) => number(relay.held_responses)],
    ["requests", (relay) => number(relay.totals.requests)],
    ["protocol", (relay) => String(relay.protocol ?? "–")],
    ["since", (relay) => span(relay.since_seconds)],
  ];

  function showRelays({ status }) {
    const list = by("relays");
    while (list.children.length > status.relays.length) list.lastChild.remove();
    status.relays.forEach((relay, i) => {
      if (!list.children[i]) list.append(card());
      fillCard(list.children[i], relay);
    });
    text(by("relays-title"), status.relays.length === 1 ? "Relay" : "Relays");
  }

  function card() {
    const figures = FIGURES.map(([name]) => element("div", {}, element("dt", { text: name }), element("dd")));
    return element("li", {}, element("h3"), element("p"), element("p", { class: "more mono" }), element("dl", {}, ...figures),
      element("p", { hidden: "" }, element("span", { class: "pill warn" })),
      element("p", { class: "more", hidden: "" }, element("span", { class: "code bad" }), element("span")));
  }

  function fillCard(node, relay) {
    const [name, pill, url, figures, paused, error] = node.children;
    const [words, look] = STATES[relay.state] ?? [relay.state, ""];
    text(name, relay.name);
    text(pill, words);
    pill.className = `pill ${look}`;
    text(url, relay.url);
    FIGURES.forEach(([, figure], i) => text(figures.children[i].lastChild, figure(relay)));
    paused.hidden = !relay.paused;
    text(paused.firstChild, relay.paused ? `paused by ${relay.paused.by}` : "");
    const why = relay.state === "connected" ? null : relay.last_error;
    const again = relay.retry_in_seconds === null ? "" : `; tries again in ${span(relay.retry_in_seconds)}`;
    error.hidden = !why;
    text(error.firstChild, why ? why.code : "");
    text(error.lastChild, why ? ` ${why.message}${again}` : "");
  }

  function option(parent, value) {
    if ([...parent.querySelectorAll("option")].every((known) => known.value !== value)) parent.append(element("option", { value, text: value }));
  }

  function showChoices({ status, requests }) {
    const several = status.relays.length > 1;
    by("which-relay").hidden = !several;
    document.querySelector("th.of-relay").hidden = !several;
    status.relays.forEach(({ name }) => option(by("relay"), name));
    status.relays.forEach(({ totals }) => Object.keys(totals.faults).forEach((code) => option(by("codes"), code)));
    requests.forEach(({ fault }) => fault && option(by("codes"), fault));
  }

  function wanted(seen) {
    const kind = by("kind").value;
    const kinds = { "": true, fault: seen.fault !== null, error: seen.status >= 400, open: !seen.over };
    if (!(kinds[kind] ?? seen.fault === kind)) return false;
    const words = by("filter").value.trim().toLowerCase();
    const all = [seen.path, seen.model, seen.id, seen.fault, seen.relay, seen.status].join(" ").toLowerCase();
    return words.split(/\s+/).every((word) => all.includes(word));
  }

  function showRequests() {
    const { requests, now } = state.data;
    const shown = requests.filter(wanted);
    const longest = Math.max(0.001, ...shown.map((seen) => total(seen, now)));
    const body = by("rows");
    let at = body.firstElementChild;
    for (const seen of shown) {
      const row = rows.get(seen.key) ?? made(seen);
      fill(row, seen, now, longest);
      if (row.node === at) at = at.nextElementSibling;
      else body.insertBefore(row.node, at);
    }
    const kept = new Set(shown.map(({ key }) => key));
    for (const [key, row] of rows) {
      if (kept.has(key)) continue;
      if (row.node.contains(document.activeElement)) by("requests-region").focus();
      row.node.remove();
      rows.delete(key);
    }
    text(by("count"), requests.length ? `${shown.length} of ${requests.length}` : "");
    by("requests-region").hidden = shown.length === 0;
    by("no-rows").hidden = shown.length > 0;
    text(by("no-rows"), requests.length ? "No request is like this." : "No request yet.");
    return shown.length;
  }

  function made(seen) {
    const open = element("button", { type: "button", class: "open" }, time(seen.received), element("span", { class: "visually-hidden", text: ", details" }));
    open.addEventListener("click", () => details(seen.key));
    const cell = (label, className, ...children) => element("td", { role: "cell", "data-label": label, class: className }, ...children);
    const parts = { relay: cell("Relay", "of-relay"), path: cell("Path", "path"), status: element("span"), took: element("span"),
      stages: drawing("svg", { class: "stages", viewBox: "0 0 100 8", preserveAspectRatio: "none", role: "img" }),
      model: cell("Model", ""), tokens: cell("Tokens", "figure"), fault: element("span") };
    const node = element("tr", { role: "row" }, cell("Time", "time mono", open), parts.relay, parts.path, cell("Status", "", parts.status),
      cell("Duration", "", element("div", { class: "duration" }, parts.took, parts.stages)), parts.model, parts.tokens, cell("Fault", "", parts.fault));
    const row = { node, parts, last: "" };
    rows.set(seen.key, row);
    return row;
  }

  function total(seen, now) {
    if (!seen.over) return Math.max(0, now - seen.received);
    return seen.queue_seconds + (seen.forward_seconds ?? 0) + (seen.ack_seconds ?? 0);
  }

  function fill(row, seen, now, longest) {
    const several = state.data.status.relays.length > 1;
    const took = total(seen, now);
    const drawn = JSON.stringify([seen, seen.over || Math.round(took * 10), longest, several]);
    if (row.last === drawn) return;
    row.last = drawn;
    const { parts } = row;
    parts.relay.hidden = !several;
    text(parts.relay, seen.relay);
    text(parts.path, seen.path ?? "–");
    text(parts.status, seen.over ? String(seen.status ?? "no answer") : "under way");
    parts.status.className = `code ${!seen.over ? "" : seen.status >= 200 && seen.status < 400 ? "good" : "bad"}`;
    text(parts.took, took || seen.forward_seconds !== null ? seconds(took) : "–");
    stages(parts.stages, seen, took, longest);
    text(parts.model, seen.model ?? "–");
    const known = seen.input_tokens !== null || seen.output_tokens !== null;
    text(parts.tokens, known ? `${number(seen.input_tokens)} / ${number(seen.output_tokens)}` : "–");
    text(parts.fault, seen.fault ?? "–");
    parts.fault.className = seen.fault ? "code bad" : "";
  }

  function stages(svg, seen, took, longest) {
    const forward = seen.over ? seen.forward_seconds ?? 0 : Math.max(0, took - seen.queue_seconds);
    const parts = [["queue", seen.queue_seconds], ["model", forward], ["ack", seen.ack_seconds ?? 0]];
    const label = `in the queue ${seconds(seen.queue_seconds)}, at the model ${seconds(seen.over ? seen.forward_seconds : forward)}, until acknowledged ${acknowledged(seen)}`;
    // the whole by its logarithm, so that a slow request does not make the others' bars vanish; its parts in proportion
    const whole = (100 * Math.log1p(took * 1000)) / Math.log1p(longest * 1000);
    let x = 0;
    const bars = parts.map(([name, value]) => {
      const width = took > 0 ? (value / took) * whole : 0;
      const bar = drawing("rect", { class: name, x, y: 0, width, height: 8 });
      x += width;
      return bar;
    });
    svg.setAttribute("aria-label", label);
    svg.replaceChildren(drawing("rect", { class: "track", x: 0, y: 0, width: 100, height: 8, opacity: 0.45 }), ...bars);
  }

  function acknowledged(seen) {
    if (seen.ack_expired) return "never";
    if (seen.ack_seconds !== null) return seconds(seen.ack_seconds);
    const relay = state.data.status.relays.find(({ name }) => name === seen.relay);
    return relay?.protocol === 1 ? "– (protocol 1 has no acks)" : "not yet";
  }

  function showErrors({ troubles, requests }) {
    const faults = requests.filter((seen) => seen.fault).map((seen) => ({
      at: seen.received, relay: seen.relay, code: seen.fault, message: `${seen.status ?? "no answer"} to ${seen.path ?? "a request"}, request ${seen.id}`,
    }));
    const all = [...troubles, ...faults].sort((a, b) => b.at - a.at).slice(0, 20);
    const drawn = JSON.stringify(all);
    if (state.shownErrors === drawn) return;
    state.shownErrors = drawn;
    by("errors").replaceChildren(...all.map((error) => element("tr", { role: "row" },
      element("td", { role: "cell", "data-label": "Time", class: "time mono" }, time(error.at)),
      element("td", { role: "cell", "data-label": "Relay", text: error.relay }),
      element("td", { role: "cell", "data-label": "Code" }, element("span", { class: "code bad", text: error.code })),
      element("td", { role: "cell", "data-label": "What", text: error.message }))));
    by("errors-region").hidden = all.length === 0;
    by("no-errors").hidden = all.length > 0;
  }

  // ---- one request

  function details(key) {
    const seen = state.data.requests.find((one) => one.key === key);
    if (!seen) return;
    state.shown = key;
    const facts = [
      ["Request id", seen.id], ["Received", new Date(seen.received * 1000).toISOString()], ["Relay", seen.relay], ["Path", seen.path ?? "–"],
      ["Status", seen.over ? String(seen.status ?? "no answer") : "under way"], ["Fault", seen.fault ?? "none"], ["Model", seen.model ?? "–"],
      ["Tokens", `${number(seen.input_tokens)} in, ${number(seen.output_tokens)} out`], ["In the queue", seconds(seen.queue_seconds)],
      ["At the model", seconds(seen.forward_seconds)], ["Until acknowledged", acknowledged(seen)],
    ];
    by("facts").replaceChildren(...facts.map(([name, value]) => element("div", {}, element("dt", { text: name }), element("dd", { text: value }))));
    by("content").replaceChildren();
    by("details").showModal();
    content(seen);
  }

  async function content(seen) {
    const place = by("content");
    const tell = (words) => place.replaceChildren(element("p", { class: "more", text: words }));
    if (!seen.content) {
      tell(state.data.keeps_content ? "Nothing was kept of this request." : "No content is kept: status.inspector.bodies is not set.");
      return;
    }
    try {
      const headers = state.token ? { authorization: `Bearer ${state.token}` } : {};
      const answer = await fetch(`inspector/content/${seen.key}`, { cache: "no-store", headers });
      if (state.shown !== seen.key) return;
      if (answer.status === 401) return askToken(seen, place);
      if (!answer.ok) return tell(await answer.text());
      const kept = await answer.json();
      place.replaceChildren(...side("Request", kept.request), ...(kept.answer ? side("Answer", kept.answer) : []));
    } catch {
      tell("The status server does not answer.");
    }
  }

  function askToken(seen, place) {
    const input = element("input", { type: "password", autocomplete: "off", id: "token" });
    const button = element("button", { type: "button", text: "Show" });
    const go = () => {
      state.token = input.value.trim();
      content(seen);
    };
    button.addEventListener("click", go);
    input.addEventListener("keydown", (event) => event.key === "Enter" && go());
    const words = state.token ? "This is not the token. " : "";
    place.replaceChildren(element("label", {}, `${words}Bodies need the token of status.token`, input, button));
    input.focus();
  }

  function side(title, { headers, body, body_bytes }) {
    const lines = headers.map(([name, value]) => `${name}: ${value ?? "[hidden]"}`);
    const whole = new TextEncoder().encode(body).length >= body_bytes;
    return [
      element("h3", { text: title }),
      element("pre", { tabindex: "0", role: "region", "aria-label": `${title}: headers`, text: lines.join("\n") || "no headers" }),
      element("pre", { tabindex: "0", role: "region", "aria-label": `${title}: body`, text: pretty(body) || "no body" }),
      element("p", { class: "more", text: whole ? `${number(body_bytes)} bytes` : `the beginning of ${number(body_bytes)} bytes` }),
    ];
  }

  /** Numbers stay as they were written, so nothing is read and written again: only white space is added. */
  function pretty(json) {
    let depth = 0;
    return json.replace(/"(?:[^"\\]|\\.)*"?|[{}[\],:]|\s+|[^\s"{}[\],:]+/g, (part) => {
      if (part === "{" || part === "[") return `${part}\n${"  ".repeat((depth += 1))}`;
      if (part === "}" || part === "]") return `\n${"  ".repeat((depth = Math.max(0, depth - 1)))}${part}`;
      if (part === ",") return `,\n${"  ".repeat(depth)}`;
      if (part === ":") return ": ";
      return /^\s/.test(part) ? "" : part;
    });
  }

  // ---- controls

  by("pause").addEventListener("click", pause);
  by("close").addEventListener("click", () => by("details").close());
  by("details").addEventListener("close", () => {
    state.shown = null;
    by("content").replaceChildren();
  });
  let soon = 0;
  for (const id of ["filter", "kind"]) {
    by(id).addEventListener("input", () => {
      if (!state.data) return;
      const count = showRequests();
      clearTimeout(soon);
      soon = setTimeout(() => say(`${count} requests shown`), 600);
    });
  }
  by("relay").addEventListener("input", poll);
  document.addEventListener("visibilitychange", poll);
  poll();
})();
