// A word hidden from the model: the button that hides it, and what the model guesses in its place.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el, percent, slicer } = CV;

  const LISTED = 5; // guesses shown of each token
  const ABOUT = "The model gets masks in the place of the word, and the photo as it is. The map of the word is then where the masks look.";

  /**
   * The guesses for one token, likeliest first, each with its bar. `name` null where there is only one token.
   * @type {(name: string | null, choices: [text: string, share: number][], written: string | null) => HTMLElement}
   */
  function guessList(name, choices, written) {
    return el(
      "div",
      {},
      name && el("p", { class: "cv-label", text: name }),
      el(
        "ol",
        { class: "cv-ranks" },
        ...choices.slice(0, LISTED).map(([text, share]) => {
          const bar = el("i", { class: "cv-rank-bar" });
          bar.style.inlineSize = `${100 * share}%`;
          const same = written !== null && text.toLowerCase() === written.toLowerCase();
          return el(
            "li",
            {},
            bar,
            el("span", { class: "cv-rank-name" }, el("bdi", { text }), same ? " (as written)" : ""),
            el("b", { class: "cv-figure", text: percent(share) }),
          );
        }),
      ),
    );
  }

  /**
   * @param {Payload} payload
   * @param {Options} options `onHide` with start and end null where every word is to be read again; nothing without a
   *   server
   * @param {boolean | undefined} can whether the model guesses hidden words
   * @param {(word: number) => void} chosen called before a word is hidden or shown again, with its index
   * @returns {{node: HTMLElement | null, paint: (active: {word: What}[]) => void}} node null where there is nothing to
   *   hide and nothing hidden
   */
  function hiding(payload, options, can, chosen) {
    const { words, text } = payload.caption;
    const now = payload.hidden || null;
    const asks = Boolean(can && options.onHide);
    if (!asks && !now) return { node: null, paint() {} };
    const node = el("section", { class: "cv-hiding", "aria-label": "A hidden word" });
    const button = el("button", { type: "button", class: "cv-button" });
    if (now) {
      const slice = slicer(text);
      const [first, last] = [words[now.words[0]], words[now.words[now.words.length - 1]]];
      const parts = now.guesses.map(({ word }) => word);
      node.append(
        el("div", { class: "cv-trust-head" }, el("h2", { class: "cv-label" }, "Hidden: ", el("bdi", { text: slice(first.start, last.end) })), CV.hint("hidden", ABOUT)),
        ...now.guesses.map(({ word, choices }, i) => {
          const pieces = parts.filter((other) => other === word).length;
          const place = parts.slice(0, i).filter((other) => other === word).length + 1;
          const name = parts.length > 1 ? `${words[word].text}${pieces > 1 ? `, part ${place} of ${pieces}` : ""}` : null;
          return guessList(name, choices, pieces > 1 ? null : words[word].text);
        }),
      );
      button.textContent = "Show it again";
      button.addEventListener("click", () => {
        chosen(now.words[0]);
        options.onHide?.({ id: payload.id, start: null, end: null });
      });
    } else {
      button.textContent = "Hide it, let the model guess";
    }
    /** @type {Span | null} */
    let span = null;
    if (!now) {
      button.addEventListener("click", () => {
        if (!span) return;
        const { start: from } = span;
        chosen(words.findIndex(({ start }) => start === from));
        options.onHide?.({ id: payload.id, ...span });
      });
    }
    if (asks) node.append(button);

    /** @param {{word: What}[]} active what is shown; one word, or words side by side, can be hidden */
    function paint(active) {
      if (now) return;
      span = CV.shownSpan(words, active);
      button.disabled = !span;
      button.title = span ? "" : "Choose one word, or words that stand side by side.";
    }
    return { node, paint };
  }

  Object.assign(CV, { hiding });
})();
