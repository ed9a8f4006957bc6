// Single layers and heads: their names, the figures of what each does with a word, and orders to look at them in.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});

  /**
   * What the heads can be sorted by: [key, text, figure, sign]; sign 1 puts the smallest first.
   * @type {[key: string, text: string, figure: "entropy" | "peak" | "nullMass" | null, sign: number][]}
   */
  const ORDERS = [
    ["layer", "layer and head", null, 1],
    ["focused", "entropy, most focused first", "entropy", 1],
    ["spread", "entropy, most spread first", "entropy", -1],
    ["high", "peak, highest first", "peak", -1],
    ["low", "peak, lowest first", "peak", 1],
    ["found", "null mass, least first", "nullMass", 1],
    ["null", "null mass, most first", "nullMass", -1],
  ];

  /**
   * The spread of a map over its patches, in bits: 0 for one patch, log2(patches) for all alike. Of a signed map what
   * speaks for the word.
   * @param {Float64Array} values raw
   * @returns {number}
   */
  function entropy(values) {
    let total = 0;
    for (const v of values) total += Math.max(v, 0);
    if (!(total > 0)) return Math.log2(values.length);
    let sum = 0;
    for (const v of values) if (v > 0) sum -= (v / total) * Math.log2(v / total);
    return sum;
  }

  /**
   * The figures of a head for a word or phrase.
   * @param {Field} field
   * @param {What} what
   * @param {number} layer
   * @param {number} head
   * @returns {HeadFigure} peak as displayed
   */
  function headFigure(field, what, layer, head) {
    const values = field.values(what, layer, head);
    const peak = values.reduce((top, v) => Math.max(top, v), -Infinity) * field.factor;
    return { layer, head, entropy: entropy(values), peak, nullMass: field.nullMass(what, layer, head) };
  }

  /**
   * The heads in the order of a key of ORDERS; equal ones stay in the order of layers.
   * @param {HeadFigure[]} figures
   * @param {string} key
   * @returns {number[]} positions in `figures`
   */
  function headOrder(figures, key) {
    const [, , name, sign] = ORDERS.find(([own]) => own === key) ?? ORDERS[0];
    const places = figures.map((_, i) => i);
    return name ? places.sort((a, b) => sign * (Number(figures[a][name]) - Number(figures[b][name])) || a - b) : places;
  }

  /**
   * "layer 2, head 5", or "head 5" where there is one layer.
   * @type {(field: Field, layer: number, head: number) => string}
   */
  const headName = (field, layer, head) => `${field.layers.length > 1 ? `${field.layers[layer]}, ` : ""}head ${head + 1}`;

  /**
   * Which layers and heads a map is of, in words; at most `most` heads of a blend by name. "" where there are none.
   * @param {Field} field
   * @param {number | null} layer
   * @param {HeadChoice} head
   * @param {number} [most]
   * @returns {string}
   */
  function through(field, layer, head, most = 2) {
    if (!field.hasHeads) return "";
    const how = field.sum ? "sum" : "mean";
    if (Array.isArray(head)) {
      const names = head.slice(0, most).map(([l, h]) => headName(field, l, h));
      const rest = head.length > most ? `; ${head.length - most} more` : "";
      return `blend of ${head.length} heads: ${names.join("; ")}${rest}`;
    }
    if (head !== null && (layer !== null || field.layers.length === 1)) return headName(field, layer ?? 0, head);
    if (head !== null) return `${how} of head ${head + 1} in every layer`;
    if (layer !== null && field.layers.length > 1) return `${field.layers[layer]}, ${how} of its heads`;
    if (field.layers.length === 1) return `${how} of all ${field.heads} heads`;
    return field.heads === 1 ? `${how} of all ${field.layers.length} layers` : `${how} of ${field.layers.length} layers × ${field.heads} heads`;
  }

  Object.assign(CV, { ORDERS, headFigure, headOrder, headName, through });
})();
