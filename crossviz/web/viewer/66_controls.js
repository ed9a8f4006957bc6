// What is chosen below the picture: layer and head, how the map is drawn, what lies over it.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el, uid } = CV;

  const BLEND = "blend"; // the head select's value while several heads are pinned

  /**
   * A labelled check box: {node, put(on)}.
   * @param {string} text
   * @param {boolean} on
   * @param {(on: boolean) => void} onChange
   */
  function toggle(text, on, onChange) {
    const id = uid("toggle");
    const input = el("input", { type: "checkbox", class: "cv-check", id, on: { change: () => onChange(input.checked) } });
    /** @type {(checked: boolean) => unknown} */
    const put = (checked) => (input.checked = checked);
    put(on);
    return { node: el("label", { class: "cv-switch", for: id }, input, el("span", { text })), put };
  }

  /**
   * @param {Field} field
   * @param {MapState} state as they stand when this is called
   * @param {string[]} maps names of the colour maps
   * @param {HTMLElement|null} play the button that plays the layers
   * @param {{pick: (key: "layer" | "head", index: number | null) => void, set: <K extends keyof Drawing>(key: K, value: Drawing[K]) => void, done: () => void}} act `pick` of layer and head, `set` of the rest; `done` after the last of several values that one drag sets
   * @returns {{node: HTMLElement, sync: (state: MapState) => void}}
   */
  function controls(field, state, maps, play, act) {
    const all = field.sum ? "all, summed" : "all, averaged";
    /** @type {(key: "layer" | "head") => (value: string) => void} */
    const pick = (key) => (value) => value !== BLEND && act.pick(key, value === "all" ? null : Number(value));
    /** @type {<K extends keyof Drawing, V>(key: K, parse: (value: V) => Drawing[K]) => (value: V) => void} */
    const set = (key, parse) => (value) => act.set(key, parse(value));
    const layer = CV.select("Layer", [["all", all], ...field.layers.map((name, i) => [String(i), name])], "all", pick("layer"));
    const heads = Array.from({ length: field.heads }, (_, i) => [String(i), `head ${i + 1}`]);
    const head = CV.select("Head", [["all", all], ...heads], "all", pick("head"));
    const several = el("option", { value: BLEND, hidden: true, disabled: true });
    head.control.append(several);
    const view = CV.segmented("View", [["smooth", "Smooth"], ["patches", "Patches"]], state.smooth ? "smooth" : "patches", set("smooth", (v) => v === "smooth"));
    const scale = CV.segmented("Scale", [["shared", "Shared"], ["own", "This word"]], state.own ? "own" : "shared", set("own", (v) => v === "own"));
    const line = CV.segmented("Line around", [["0.5", "50\u202f%"], ["0.8", "80\u202f%"], ["0", "Off"]], String(state.contour), set("contour", Number));
    const opacity = CV.slider("Opacity", state.opacity, set("opacity", Number), act.done);
    const colours = CV.select("Colours", maps.map((name) => [name, name]), state.cmap, set("cmap", String));
    const saw = toggle("What the model saw", state.saw, set("saw", Boolean));
    const node = el(
      "div",
      { class: "cv-controls" },
      field.hasHeads && field.layers.length > 1 ? layer.node : null,
      play,
      field.hasHeads && field.heads > 1 ? head.node : null,
      ...[view, scale, line, opacity, colours, saw].map((part) => part.node),
    );
    return {
      node,
      /** @param {MapState} state */
      sync({ layer: atLayer, head: atHead, ...drawn }) {
        const blend = Array.isArray(atHead);
        several.textContent = blend ? `${atHead.length} pinned` : "";
        layer.control.value = atLayer === null ? "all" : String(atLayer);
        head.control.value = blend ? BLEND : atHead === null ? "all" : String(atHead);
        view.put(drawn.smooth ? "smooth" : "patches");
        scale.put(drawn.own ? "own" : "shared");
        line.put(String(drawn.contour));
        opacity.put(drawn.opacity);
        colours.control.value = drawn.cmap;
        saw.put(drawn.saw);
      },
    };
  }

  Object.assign(CV, { controls });
})();
