// Small things that every part of the viewer uses: elements without markup strings, and numbers in words.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  let ids = 0;

  /**
   * An element. `attrs`: `class`, `text` (textContent: never markup), `on` {event: listener}, `style` {property: value},
   * anything else an attribute (null and false leave it out).
   * @template {keyof HTMLElementTagNameMap} K
   * @param {K} tag
   * @param {Attributes} [attrs]
   * @param {Child[]} children
   * @returns {HTMLElementTagNameMap[K]}
   */
  function el(tag, attrs = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attrs)) {
      if (value === null || value === false || value === undefined) continue;
      if (name === "text") node.textContent = /** @type {string} */ (value);
      else if (name === "class") node.className = /** @type {string} */ (value);
      else if (name === "on") for (const [event, fn] of Object.entries(value)) node.addEventListener(event, fn);
      else if (name === "style") for (const [key, v] of Object.entries(value)) node.style.setProperty(key, v);
      else node.setAttribute(name, value === true ? "" : String(value));
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  /**
   * Sets a text where it is another one: setting the same anew would be laid out anew.
   * @type {(node: Node, text: string) => void}
   */
  function say(node, text) {
    if (node.textContent !== text) node.textContent = text;
  }

  /** @type {(prefix: string) => string} */
  const uid = (prefix) => `cv-${prefix}-${++ids}`;
  const NARROW = "\u202f"; // narrow no-break space between number and unit

  /**
   * The caption's text cut at positions that Python counted: in code points, where JavaScript counts UTF-16 units.
   * @param {string} text
   * @returns {(start: number, end?: number) => string}
   */
  function slicer(text) {
    const points = Array.from(text);
    return (start, end = points.length) => points.slice(start, end).join("");
  }

  /**
   * 0.9234 -> "92 %"; never rounds a little to nothing or almost all to all.
   * @type {(share: number) => string}
   */
  function percent(share) {
    const value = 100 * share;
    if (value > 0 && value < 0.1) return `<${NARROW}0.1${NARROW}%`;
    if (value > 0 && value < 1) return `${value.toFixed(1)}${NARROW}%`;
    if (value < 100 && value > 99) return `>${NARROW}99${NARROW}%`;
    return `${Math.round(value)}${NARROW}%`;
  }

  /**
   * A displayed value without its unit: 38.4 -> "38", 2.43 -> "2.4", 0.00412 -> "0.0041".
   * @type {(value: number) => string}
   */
  function figure(value) {
    const size = Math.abs(value);
    if (size >= 10) return String(Math.round(value));
    if (size >= 1 || size === 0) return String(Math.round(10 * value) / 10);
    return size >= 0.001 ? String(Number(value.toPrecision(2))) : value.toExponential(1);
  }

  /**
   * A displayed value with its unit, as said to people.
   * @type {(value: number, field: Pick<Field, "isProbability" | "signed">) => string}
   */
  function amount(value, field) {
    if (field.isProbability) return `${figure(value)}${NARROW}×`;
    return (field.signed && value > 0 ? "+" : "") + figure(value).replace("-", "\u2212");
  }

  /**
   * A labelled native select. `options` [[value, text]].
   * @param {string} label
   * @param {string[][]} options
   * @param {string} value
   * @param {(value: string) => void} onChange
   * @param {string} [extra] classes
   */
  function select(label, options, value, onChange, extra = "") {
    const id = uid("select");
    const control = el("select", { id, class: "cv-select", on: { change: () => onChange(control.value) } });
    for (const [key, text] of options) control.append(el("option", { value: key, text }));
    control.value = value;
    const node = el("div", { class: `cv-field ${extra}` }, el("label", { for: id, class: "cv-label", text: label }), control);
    return { node, control };
  }

  /**
   * Two or three choices side by side, as one radio group (arrow keys move inside, Tab leaves): {node, put(key)}.
   * @param {string} label
   * @param {[key: string, text: string][]} options
   * @param {string} value
   * @param {(key: string) => void} onChange
   */
  function segmented(label, options, value, onChange) {
    const name = uid("segment");
    const row = el("div", { class: "cv-segments", role: "radiogroup", "aria-labelledby": `${name}-label` });
    const inputs = options.map(([key]) => el("input", { type: "radio", name, value: key, on: { change: () => onChange(key) } }));
    /** @type {(chosen: string) => void} */
    const put = (chosen) => inputs.forEach((input) => (input.checked = input.value === chosen));
    put(value);
    for (const [at, [, text]] of options.entries()) {
      const input = inputs[at];
      row.append(el("label", { class: "cv-segment" }, input, el("span", { text })));
    }
    return { node: el("div", { class: "cv-field" }, el("span", { id: `${name}-label`, class: "cv-label", text: label }), row), put };
  }

  /**
   * A labelled slider of 0 to 100 %: {node, put(share)}. `onDone` is called when it is let go.
   * @param {string} label
   * @param {number} value
   * @param {(share: number) => void} onInput
   * @param {() => void} onDone
   */
  function slider(label, value, onInput, onDone) {
    const id = uid("slider");
    const shown = el("output", { class: "cv-figure", for: id });
    const input = el("input", { id, class: "cv-slider", type: "range", min: 0, max: 100, step: 5 });
    /** @type {(share: number) => void} */
    const put = (share) => {
      input.value = String(100 * share);
      shown.textContent = percent(share);
    };
    put(value);
    input.addEventListener("input", () => {
      shown.textContent = percent(Number(input.value) / 100);
      onInput(Number(input.value) / 100);
    });
    input.addEventListener("change", onDone);
    return { node: el("div", { class: "cv-field" }, el("label", { for: id, class: "cv-label", text: `${label} ` }, shown), input), put };
  }

  /**
   * A question mark that opens a definition.
   * @type {(about: string, text: string) => HTMLElement}
   */
  function hint(about, text) {
    const id = uid("hint");
    const box = el("span", { id, class: "cv-hint-box", role: "note", hidden: true, text });
    const close = () => {
      box.hidden = true;
      button.setAttribute("aria-expanded", "false");
    };
    const button = el("button", {
      type: "button",
      class: "cv-hint",
      "aria-label": `What does "${about}" mean?`,
      "aria-expanded": "false",
      "aria-controls": id,
      text: "?",
      on: {
        click: () => {
          box.hidden = !box.hidden;
          button.setAttribute("aria-expanded", String(!box.hidden));
        },
        blur: close,
        keydown: (event) => {
          if (event.key !== "Escape" || box.hidden) return;
          event.stopPropagation();
          close();
        },
      },
    });
    return el("span", { class: "cv-hint-wrap" }, button, box);
  }

  Object.assign(CV, { el, say, uid, slicer, percent, figure, amount, select, segmented, slider, hint });
})();
