// The viewer: one explanation, drawn and explored in the browser from one payload (crossviz/render/payload.py).
// CrossvizViewer.mount(element, payload, options)
//   -> {update(payload, how), busy(text), stale(text), trust(message), inside(message), view(), destroy()}
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el, figure } = CV;

  const MOST_HELD = 6; // as many as there are hues that people with any colour vision tell apart

  function barLabel(field, { own, layer, head }, words) {
    if (own && words > 1) return "each word scaled to itself";
    let unit = field.isProbability ? "× chance" : field.unit;
    if (field.groups(layer, head)) unit += layer === null || head === null ? ", of one part of the sum" : ", of single heads";
    return own ? `${unit}, scaled to this word alone` : unit;
  }

  /** The colour bar with its ticks; always there, so that nothing jumps. */
  function colourBar() {
    const canvas = el("canvas", { class: "cv-bar", width: 256, height: 1, "aria-hidden": "true" });
    const ticks = el("div", { class: "cv-ticks", "aria-hidden": "true" });
    const label = el("p", { class: "cv-label" });
    const node = el("div", { class: "cv-colourbar", role: "img" }, label, canvas, ticks);
    function paint(field, scale, state, words, ground) {
      const text = barLabel(field, state, words);
      label.textContent = field.isProbability && !state.own ? `${text} (1 = looks everywhere alike)` : text;
      CV.paintBar(canvas, {
        cmap: state.cmap,
        opacity: state.opacity,
        signed: field.signed,
        rgb: words > 1 ? [255, 255, 255] : null,
        ground,
      });
      const ownMany = state.own && words > 1;
      const values = ownMany ? [] : CV.barTicks(scale);
      ticks.replaceChildren(
        ...values.map((value) => {
          const t = CV.position(value, scale);
          const tick = el("span", { class: "cv-tick", text: figure(value).replace("-", "\u2212") });
          tick.style.insetInlineStart = `${100 * (field.signed ? (t + 1) / 2 : t)}%`;
          return tick;
        }),
      );
      node.setAttribute("aria-label", `Colour scale, ${text}: ${values.map(figure).join(", ")}`);
    }
    return { node, paint };
  }

  /** What to show first: the word that found most and looks most at one place. */
  function mostTelling(payload, field) {
    let best = null;
    let most = -Infinity;
    payload.caption.words.forEach((word, index) => {
      if (word.truncated || !/\p{L}\p{L}\p{L}|[^\u0000-\u024f]/u.test(word.text)) return;
      const { peak } = field.stats(index, null, null, true);
      const found = field.nulls ? 1 - field.nullMass(index) : 1;
      const score = peak * found;
      if (score > most) [best, most] = [index, score];
    });
    return best;
  }

  function build(root, payload, options, prefs, live, how) {
    const field = new CV.Field(payload);
    const maps = field.signed ? CV.DIVERGING : CV.SEQUENTIAL;
    const state = {
      shown: null, // word, or null: the last one pointed at
      held: new Map(), // word -> hue, in the order they were clicked
      layer: null, // null: all
      head: null,
      peek: null, // [layer, head] under the pointer in the head strip
      patch: null,
      query: null, // of attention in two steps: the query whose own map is shown
      ...prefs,
      cmap: maps.includes(prefs.cmap) ? prefs.cmap : maps[0],
    };
    const text = (word) => payload.caption.words[word].text;
    const choice = () => (state.peek ? { ...state, layer: state.peek[0], head: state.peek[1] } : state);
    let hovering = null; // a word under the pointer or the keyboard, shown instead of the held ones
    let chosen = false; // whether the reader has chosen what is shown, or the page has

    const words = () => {
      if (hovering !== null) return [{ word: hovering, hue: 0 }];
      if (state.held.size) return [...state.held].map(([word, hue]) => ({ word, hue }));
      return state.shown === null ? [] : [{ word: state.shown, hue: 0 }];
    };

    const chips = CV.words(payload.caption, { show, hold, clear }, payload.hidden ? payload.hidden.words : []);
    const stage = CV.stage(payload, field, { patch, leave, clear, pick: (row, col) => inside.pick(row, col) });
    const readout = CV.readout();
    const patches = CV.patchList();
    const bar = colourBar();
    const strip = CV.strip(payload, field, { preview, leave: unpreview, pin });
    const controls = buildControls();
    const hiding = CV.hiding(payload, options, how.guesses, (word) => (prefs.again = { text: payload.caption.text, word }));
    const steps = CV.twoSteps(payload, stage, prefs, { look });
    const trust = CV.trust(payload, field, stage, options, prefs, live);
    const inside = CV.inside(payload, stage, options, prefs, live, { moved: () => paint({}) });
    const notes = buildNotes(payload, field);
    root.replaceChildren(
      el("div", { class: "cv-head-row" }, chips.node, field.reads ? null : el("p", { class: "cv-plainly", text: CV.EVERY_WORD })),
      el(
        "div",
        { class: "cv-main" },
        el("div", { class: "cv-left" }, stage.node, bar.node),
        el("div", { class: "cv-side" }, ...[readout.node, hiding.node, patches.node].filter(Boolean)),
      ),
      ...[steps.node, controls.node, trust.node, strip.node, inside.node, notes].filter(Boolean),
    );
    chips.node.addEventListener("pointerleave", unhover);
    chips.node.addEventListener("focusout", (event) => chips.node.contains(event.relatedTarget) || unhover());

    function show(word) {
      if (hovering === word) return;
      hovering = word;
      chosen = true;
      if (!state.held.size) state.shown = word;
      paint({ heat: true, say: true });
    }
    function unhover() {
      if (hovering === null) return;
      hovering = null;
      paint({ heat: state.held.size > 0 });
    }
    function hold(word) {
      chosen = true;
      if (state.held.has(word)) state.held.delete(word);
      else if (state.held.size < MOST_HELD) {
        const used = new Set(state.held.values());
        state.held.set(word, [0, 1, 2, 3, 4, 5].find((hue) => !used.has(hue)));
      } else return live(`${MOST_HELD} words are held already: let one go first.`);
      state.shown = word;
      hovering = null;
      paint({ heat: true, say: true });
    }
    function clear() {
      state.held.clear();
      state.shown = null;
      hovering = null;
      paint({ heat: true });
      live("The plain photo.");
    }
    function patch(row, col, byKey) {
      state.patch = { row, col };
      paint({ sayPatch: byKey });
    }
    function leave() {
      state.patch = null;
      paint({});
    }
    function look(query, told) {
      if (state.query === query) return;
      state.query = query;
      paint({ heat: true });
      if (told) live(told);
    }
    function preview(layer, head) {
      state.peek = [layer, head];
      paint({ heat: true });
    }
    function unpreview() {
      if (!state.peek) return;
      state.peek = null;
      paint({ heat: true });
    }
    function pin(layer, head) {
      const same = state.layer === layer && state.head === head;
      state.layer = same ? null : layer;
      state.head = same ? null : head;
      state.peek = null;
      controls.sync();
      paint({ heat: true, say: true });
    }

    /** What to show before anyone has chosen: the word that was hidden or is again to be seen, or that came last. */
    function first() {
      const { again } = prefs;
      prefs.again = null;
      if (again && again.text === payload.caption.text) return again.word;
      if (payload.hidden) return payload.hidden.words[0];
      const last = payload.caption.words.findLastIndex((word) => !word.truncated);
      return how.newest && last >= 0 ? last : mostTelling(payload, field);
    }

    function buildControls() {
      const all = field.sum ? "all, summed" : "all, averaged";
      const pick = (key) => (value) => {
        state[key] = value === "all" ? null : Number(value);
        paint({ heat: true, say: true });
      };
      const layer = CV.select("Layer", [["all", all], ...field.layers.map((name, i) => [String(i), name])], "all", pick("layer"));
      const heads = Array.from({ length: field.heads }, (_, i) => [String(i), `head ${i + 1}`]);
      const head = CV.select("Head", [["all", all], ...heads], "all", pick("head"));
      const set = (key, parse) => (value) => {
        state[key] = prefs[key] = parse(value);
        paint({ heat: true });
      };
      const node = el(
        "div",
        { class: "cv-controls" },
        field.hasHeads && field.layers.length > 1 ? layer.node : null,
        field.hasHeads && field.heads > 1 ? head.node : null,
        CV.segmented("View", [["smooth", "Smooth"], ["patches", "Patches"]], state.smooth ? "smooth" : "patches", set("smooth", (v) => v === "smooth")),
        CV.segmented("Scale", [["shared", "Shared"], ["own", "This word"]], state.own ? "own" : "shared", set("own", (v) => v === "own")),
        CV.slider("Opacity", state.opacity, set("opacity", Number)),
        CV.select("Colours", maps.map((name) => [name, name]), state.cmap, set("cmap", String)).node,
        ...saving(),
      );
      return {
        node,
        sync() {
          layer.control.value = state.layer === null ? "all" : String(state.layer);
          head.control.value = state.head === null ? "all" : String(state.head);
        },
      };
    }

    /** "Save": the view as PNG, made here; with a server behind the page also what it can write. */
    function saving() {
      const view = () => CV.download({ payload, field, state: choice(), words: words(), stage });
      const button = (text, click) => el("button", { type: "button", class: "cv-button", text, on: { click } });
      if (!options.onSave) return [button("Save as PNG", view)];
      const format = CV.select("Save", [["view", "this view, PNG"], ...options.formats], "view", () => undefined, "cv-save");
      const save = button("Save", () => (format.control.value === "view" ? view() : options.onSave(format.control.value, payload.id)));
      return [el("div", { class: "cv-saving" }, format.node, save)];
    }

    function paint({ heat = false, say = false, sayPatch = false }) {
      const now = choice();
      const active = words();
      const nulls = field.nulls ? payload.caption.words.map((w, i) => (w.truncated ? null : field.nullMass(i, now.layer, now.head))) : null;
      const ranked = state.patch ? rank(now) : null;
      chips.paint({
        nulls,
        shown: new Set(active.map(({ word }) => word)),
        held: state.held,
        looks: ranked ? ranked.looks : null,
      });
      const word = active.length ? active[0].word : null;
      if (heat) steps.paint(word, now);
      if (state.query !== null) return paintQuery(now);
      stage.paint(now, active, state.patch || inside.cursor(), heat);
      const statsOf = (word) => field.stats(word, now.layer, now.head, now.smooth);
      const nullOf = (word) => field.nullMass(word, now.layer, now.head);
      if (heat) {
        const first = active.length ? field.values(active[0].word, now.layer, now.head) : null;
        bar.paint(field, field.scaleFor(first || [], { ...now, own: now.own && first !== null }), now, active.length, stage.colours().ground);
        if (!active.length) readout.none(field, similarity(payload));
        else if (active.length === 1) readout.one(text(active[0].word), field, nullOf(active[0].word), statsOf(active[0].word));
        else readout.many(active.map(({ word, hue }) => ({ text: text(word), hue, nullMass: nullOf(word), stats: statsOf(word) })), field);
      }
      if (heat) hiding.paint(active);
      if (heat) trust.paint(active, now, chosen);
      if (heat) inside.paint(active, state); // the head that is pinned, not every one that is passed over
      if (ranked) patches.show(ranked.place, ranked.list, field);
      else patches.none();
      if (heat) {
        const wanted = { word, text: word === null ? "" : text(word), layer: state.layer, head: state.head, preview: state.peek, own: state.own, cmap: state.cmap, opacity: state.opacity };
        requestAnimationFrame(() => strip.paint(wanted));
      }
      if (say && active.length) live(active.map(({ word }) => CV.spoken(text(word), field, nullOf(word), statsOf(word))).join(" "));
      if (sayPatch) live(`${ranked.place}: ${ranked.list.map((r) => `${r.text} ${CV.amount(r.value, field)}`).join(", ") || "no word looks here"}`);
    }

    /** One query's own map in the place of the word's. */
    function paintQuery(now) {
      const one = { ...now, layer: null, head: null, cmap: CV.SEQUENTIAL.includes(now.cmap) ? now.cmap : CV.SEQUENTIAL[0] };
      const { field: queries } = steps;
      stage.paint(one, [{ word: state.query, hue: 0 }], state.patch, true, queries);
      bar.paint(queries, queries.scaleFor(queries.values(state.query), one), one, 1, stage.colours().ground);
      readout.one(steps.name(state.query), queries, null, queries.stats(state.query, null, null, now.smooth));
    }

    /** The words that look at the patch under the cursor, best first. */
    function rank(now) {
      const { row, col } = state.patch;
      const looks = payload.caption.words.map(() => 0);
      const list = [];
      payload.caption.words.forEach((word, index) => {
        if (word.truncated) return;
        const values = field.values(index, now.layer, now.head);
        const value = values[row * field.gw + col] * field.factor;
        const t = CV.position(value, field.scaleFor(values, now));
        looks[index] = Math.max(0, t);
        if (t > 0) list.push({ text: word.text, value, t });
      });
      list.sort((a, b) => b.value - a.value);
      return { looks, list: list.slice(0, CV.RANKED), place: `Row ${row + 1}, column ${col + 1}` };
    }

    state.shown = options.plain ? null : first();
    paint({ heat: true });
    // What hovering needs is worked out while nothing happens, so that every word switches at once.
    const waiting = payload.caption.words.map((w, i) => i).filter((i) => !payload.caption.words[i].truncated);
    const idle = window.requestIdleCallback || ((fn) => setTimeout(() => fn({ timeRemaining: () => 5 }), 50));
    let stopped = false;
    idle(function prepare(deadline) {
      while (!stopped && waiting.length && deadline.timeRemaining() > 3) field.outline(waiting.shift(), null, null, true);
      if (!stopped && waiting.length) idle(prepare);
    });
    const ready = stage.photo.decode ? stage.photo.decode().catch(() => undefined) : Promise.resolve();
    return {
      ready,
      stop() {
        stopped = true;
        stage.stop();
        trust.end();
        inside.end();
      },
      trust,
      inside,
      view: () => ({ payload, field, state: choice(), words: words(), stage }),
    };
  }

  /** Of photo and caption, or null where the model has no such figure. */
  const similarity = ({ similarity: value }) => (value === null ? null : figure(value).replace("-", "\u2212"));

  /** What made this picture: model, method, direction, and every note on it. */
  function buildNotes(payload, field) {
    const { model, method } = payload;
    const items = [
      ["Model", `${model.title}. ${model.sentence}`],
      ["Attention", model.attention_sentence],
      ["Method", `${method.title}, ${method.direction}, in ${field.isProbability ? "probabilities, shown as multiples of chance" : method.unit}.`],
      ["Similarity", similarity(payload) && `${similarity(payload)} between photo and caption (cosine, -1 to 1)`],
      ...(method.notes || []).map((note) => ["Note", note]),
    ];
    if (payload.caption.cut_at !== null && payload.caption.cut_at !== undefined) {
      items.push(["Note", "The caption is longer than the model reads: the struck words were cut off."]);
    }
    const list = el("dl", { class: "cv-about" });
    let last = null;
    for (const [term, value] of items.filter(([, text]) => text)) {
      list.append(el("div", {}, el("dt", { text: term === last ? "" : term }), el("dd", { text: value })));
      last = term;
    }
    return el("section", { class: "cv-notes", "aria-label": "How this picture was made" }, list);
  }

  function mount(element, payload, options = {}) {
    const said = el("div", { class: "cv-live", role: "status", "aria-live": "polite" });
    const busyText = el("span", { class: "cv-busy-text" });
    const cancel = el("button", { type: "button", class: "cv-link", text: "Cancel", on: { click: () => options.onCancel?.() } });
    const busyLine = el("p", { class: "cv-pill", hidden: true, role: "status" }, busyText, options.onCancel ? cancel : null);
    const staleNote = el("p", { class: "cv-pill cv-stale", role: "status", hidden: true });
    // Over the picture's lower edge: nothing moves when they come and go.
    const overlay = el("div", { class: "cv-over" }, el("i", { class: "cv-thin" }), busyLine, staleNote);
    const body = el("div", { class: "cv-body" });
    const root = el("div", { class: "cv-viewer" }, said, body);
    element.replaceChildren(root);
    let current = null;
    // What the reader chose to see stays chosen when the next explanation comes.
    const prefs = { smooth: true, own: false, opacity: 0.85, cmap: null, check: "calibration", dim: false, box: null, steps: false, inside: false, cell: null, again: null };
    const live = (text) => (said.textContent = text);

    /** @param how {guesses: whether the model guesses hidden words, newest: show the last word first} */
    function update(next, how = {}) {
      if (current) current.stop();
      root.removeAttribute("data-ready");
      body.hidden = !next;
      const hiding = Boolean(document.activeElement?.closest(".cv-hiding"));
      current = next ? build(body, next, options, prefs, live, how) : null;
      if (hiding) root.querySelector(".cv-hiding .cv-button")?.focus();
      (current ? current.view().stage.node : root).append(overlay);
      busy(null);
      stale(null);
      const id = next ? next.id : "empty";
      Promise.resolve(current && current.ready).then(() => (root.dataset.ready = id));
    }
    function busy(text) {
      busyLine.hidden = !text;
      busyText.textContent = text || "";
      if (text) stale(null);
      if (text && current) current.trust.pause(); // what is asked now goes first
      root.toggleAttribute("data-busy", Boolean(text));
    }
    function stale(text) {
      staleNote.hidden = !text;
      staleNote.textContent = text || "";
      root.toggleAttribute("data-stale", Boolean(text));
    }
    update(payload, options.opening);
    return {
      update,
      busy,
      stale,
      trust: (message) => current && current.trust.receive(message),
      inside: (message) => current && current.inside.receive(message),
      view: () => (current ? current.view() : null),
      destroy() {
        if (current) current.stop();
        element.replaceChildren();
      },
    };
  }

  Object.assign(CV, { mount, barLabel });
})();
