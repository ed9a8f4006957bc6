// Undo and redo of what is set in a view. What is only pointed at is no step.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el } = CV;

  const MOST_STEPS = 100;
  const TYPED = "textarea, [contenteditable='true'], input:not([type=range], [type=checkbox], [type=radio])";

  /**
   * @param {() => Settings} read the settings as they stand (CV.settingsOf)
   * @param {(settings: Settings) => void} apply
   * @param {Live} live says what was done
   * @returns {{node: HTMLElement, note: () => void, pointed: () => void, stop: () => void}} `note` what was done is a
   *   step, if it
   *   changed anything; `pointed` what is shown is another, without a step
   */
  function undoing(read, apply, live) {
    let steps = [read()];
    let at = 0;
    /** @type {(text: string, keys: string, by: number) => HTMLElement} */
    const button = (text, keys, by) =>
      el("button", { type: "button", class: "cv-button", text, "aria-keyshortcuts": keys, on: { click: () => go(by) } });
    const undo = button("Undo", "Control+Z Meta+Z", -1);
    const redo = button("Redo", "Control+Shift+Z Control+Y Meta+Shift+Z", 1);
    const node = el("div", { class: "cv-undo", role: "group", "aria-label": "View settings" }, undo, redo);

    const label = () => {
      // Not `disabled`, which would take the focus away from under the reader.
      undo.setAttribute("aria-disabled", String(at === 0));
      redo.setAttribute("aria-disabled", String(at === steps.length - 1));
    };
    /** @type {(by: number) => boolean} */
    const there = (by) => at + by >= 0 && at + by < steps.length;
    /** @type {(by: number) => void} */
    function go(by) {
      if (!there(by)) return live(by < 0 ? "There is nothing to undo." : "There is nothing to redo.");
      at += by;
      apply(steps[at]);
      label();
      live(by < 0 ? "Undone." : "Redone.");
    }
    function note() {
      const now = read();
      if (JSON.stringify(now) === JSON.stringify(steps[at])) return;
      steps = [...steps.slice(Math.max(0, at + 1 - MOST_STEPS), at + 1), now];
      at = steps.length - 1;
      label();
    }
    function pointed() {
      steps[at] = { ...steps[at], shown: read().shown };
    }
    /** @type {(event: KeyboardEvent) => void} */
    function key(event) {
      if (event.defaultPrevented || event.altKey || !(event.ctrlKey || event.metaKey)) return;
      if (event.target instanceof Element && event.target.closest(TYPED)) return;
      const pressed = event.key.toLowerCase();
      const again = (pressed === "z" && event.shiftKey) || (pressed === "y" && event.ctrlKey && !event.shiftKey);
      const by = again ? 1 : pressed === "z" ? -1 : 0;
      if (!by || !there(by)) return;
      event.preventDefault();
      go(by);
    }
    document.addEventListener("keydown", key);
    label();
    return { node, note, pointed, stop: () => document.removeEventListener("keydown", key) };
  }

  Object.assign(CV, { undoing });
})();
