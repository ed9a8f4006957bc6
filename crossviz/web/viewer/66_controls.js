// What is chosen below the picture: layer and head, how the map is drawn, what lies over it, and what is saved.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el, uid } = CV;

  const BLEND = "blend"; // the head select's value while several heads are pinned

  /** A labelled check box. */
  function toggle(text, on, onChange) {
    const id = uid("toggle");
    const input = el("input", { type: "checkbox", class: "cv-check", id, on: { change: () => onChange(input.checked) } });
    input.checked = on;
    return el("label", { class: "cv-switch", for: id }, input, el("span", { text }));
  }

  /**
   * @param state layer, head, smooth, own, opacity, cmap, contour, saw: as they stand when this is called
   * @param {string[]} maps names of the colour maps
   * @param {HTMLElement|null} play the button that plays the layers
   * @param {{pick: Function, set: Function}} act `pick(key, index or null)` of layer and head, `set(key, value)` of the rest
   * @param {HTMLElement[]} saving what saves
   * @returns {{node: HTMLElement, sync: (layer, head) => void}}
   */
  function controls(field, state, maps, play, act, saving) {
    const all = field.sum ? "all, summed" : "all, averaged";
    const pick = (key) => (value) => value !== BLEND && act.pick(key, value === "all" ? null : Number(value));
    const set = (key, parse) => (value) => act.set(key, parse(value));
    const layer = CV.select("Layer", [["all", all], ...field.layers.map((name, i) => [String(i), name])], "all", pick("layer"));
    const heads = Array.from({ length: field.heads }, (_, i) => [String(i), `head ${i + 1}`]);
    const head = CV.select("Head", [["all", all], ...heads], "all", pick("head"));
    const several = el("option", { value: BLEND, hidden: true, disabled: true });
    head.control.append(several);
    const node = el(
      "div",
      { class: "cv-controls" },
      field.hasHeads && field.layers.length > 1 ? layer.node : null,
      play,
      field.hasHeads && field.heads > 1 ? head.node : null,
      CV.segmented("View", [["smooth", "Smooth"], ["patches", "Patches"]], state.smooth ? "smooth" : "patches", set("smooth", (v) => v === "smooth")),
      CV.segmented("Scale", [["shared", "Shared"], ["own", "This word"]], state.own ? "own" : "shared", set("own", (v) => v === "own")),
      CV.segmented("Line around", [["0.5", "50\u202f%"], ["0.8", "80\u202f%"], ["0", "Off"]], String(state.contour), set("contour", Number)),
      CV.slider("Opacity", state.opacity, set("opacity", Number)),
      CV.select("Colours", maps.map((name) => [name, name]), state.cmap, set("cmap", String)).node,
      toggle("What the model saw", state.saw, set("saw", Boolean)),
      ...saving,
    );
    return {
      node,
      sync(atLayer, atHead) {
        const blend = Array.isArray(atHead);
        several.textContent = blend ? `${atHead.length} pinned` : "";
        layer.control.value = atLayer === null ? "all" : String(atLayer);
        head.control.value = blend ? BLEND : atHead === null ? "all" : String(atHead);
      },
    };
  }

  /** "Save": the view as PNG, made here; with a server behind the page also what it can write. */
  function saving(options, id, view) {
    const download = () => CV.download(view());
    const button = (text, click) => el("button", { type: "button", class: "cv-button", text, on: { click } });
    if (!options.onSave) return [button("Save as PNG", download)];
    const format = CV.select("Save", [["view", "this view, PNG"], ...options.formats], "view", () => undefined, "cv-save");
    const save = button("Save", () => (format.control.value === "view" ? download() : options.onSave(format.control.value, id)));
    return [el("div", { class: "cv-saving" }, format.node, save)];
  }

  Object.assign(CV, { controls, saving });
})();
