// The formulas of a cell of cross-attention, set by the browser itself: MathML, with the names of "Attention Is All You
// Need" (Vaswani et al. 2017).
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});

  const MATHML = "http://www.w3.org/1998/Math/MathML";

  /**
   * An element of MathML; children are elements or the text of a leaf.
   * @type {(tag: string, ...children: Term[]) => MathMLElement}
   */
  function m(tag, ...children) {
    const node = document.createElementNS(MATHML, tag);
    node.append(...children.map((child) => (Array.isArray(child) ? m("mrow", ...child) : child)));
    return node;
  }
  /** @type {(name: string) => MathMLElement} */
  const vector = (name) => {
    const node = m("mi", name);
    node.setAttribute("mathvariant", "normal");
    node.setAttribute("class", "cv-vector");
    return node;
  };
  /** @type {(name: string) => MathMLElement} */
  const id = (name) => m("mi", name);
  /** @type {(sign: string) => MathMLElement} */
  const op = (sign) => {
    const node = m("mo", sign);
    node.setAttribute("stretchy", "false"); // brackets as high as a line of text
    return node;
  };
  /** @type {(value: number) => MathMLElement} */
  const num = (value) => m("mn", String(value));
  /** @type {(base: Term, index: Term) => MathMLElement} */
  const sub = (base, index) => m("msub", base, index);
  /** @type {(name: string) => MathMLElement} */
  const matrix = (name) => sub(id("W"), id(name));
  /** @type {(name: string) => MathMLElement} */
  const bias = (name) => sub(vector("b"), id(name));
  /** @type {(index: Term, ...of: Term[]) => Term[]} */
  const sumOver = (index, ...of) => [m("munder", op("∑"), index), ...of];
  /** @type {(...of: Term[]) => Term[]} */
  const norm = (...of) => [id("LayerNorm"), op("("), ...of, op(")")];
  /** @type {(of: Term) => Term[]} */
  const length = (of) => [op("‖"), of, op("‖")];
  const dot = () => [vector("q"), op("·"), vector("k")];

  /** @type {(out: string, given: string, name: string) => Term[]} */
  const projected = (out, given, name) => [vector(out), op("="), vector(given), matrix(name), op("+"), bias(name)];
  /** @type {(out: string, given: string, name: string) => Term[]} */
  const unit = (out, given, name) => [vector(out), op("="), m("mfrac", [vector(given), matrix(name)], length([vector(given), matrix(name)]))];

  /**
   * @returns by name, what makes the children of a formula; `step` has its strips, `given` the name of W_Q's input.
   * @type {Record<string, (about: FormulaAbout) => Term[]>} by name, what makes the children of a formula
   */
  const FORMULAS = {
    word: ({ count }) => [vector("x"), op("∈"), m("msup", id("ℝ"), num(count))],
    entry: () => [vector("x̂"), op("="), ...norm(vector("x"))],
    query: ({ given }) => projected("q", given, "Q"),
    "query-unit": ({ given }) => unit("q", given, "Q"),
    patch: ({ count }) => [vector("y"), op("∈"), m("msup", id("ℝ"), num(count))],
    key: () => projected("k", "y", "K"),
    "key-unit": () => unit("k", "y", "K"),
    products: () => [sub(id("q"), id("i")), sub(id("k"), id("i"))],
    sum: () => [...dot(), op("="), ...sumOver(id("i"), sub(id("q"), id("i")), sub(id("k"), id("i")))],
    scale: () => [id("s"), op("="), m("mfrac", dot(), m("msqrt", sub(id("d"), id("k"))))],
    warm: () => [id("s"), op("="), id("τ"), ...dot()],
    row: () => [sub(id("s"), id("j")), op("="), m("mfrac", [vector("q"), op("·"), sub(vector("k"), id("j"))], m("msqrt", sub(id("d"), id("k"))))],
    "row-warm": () => [sub(id("s"), id("j")), op("="), id("τ"), vector("q"), op("·"), sub(vector("k"), id("j"))],
    softmax: () => [
      sub(id("p"), id("j")),
      op("="),
      m("mfrac", m("msup", id("e"), sub(id("s"), id("j"))), [m("munder", op("∑"), id("l")), m("msup", id("e"), sub(id("s"), id("l")))]),
    ],
    value: () => projected("v", "y", "V"),
    context: () => [vector("c"), op("="), ...sumOver(id("j"), sub(id("p"), id("j")), sub(vector("v"), id("j")))],
    output: ({ heads }) =>
      heads > 1
        ? [vector("o"), op("="), op("["), sub(vector("c"), num(1)), op("…"), sub(vector("c"), num(heads)), op("]"), matrix("O"), op("+"), bias("O")]
        : projected("o", "c", "O"),
    residual: () => [vector("x"), op("+"), vector("o")],
    norm: () => norm(vector("x"), op("+"), vector("o")),
    together: () => [id("p"), op("="), ...sumOver(id("l"), sub(id("a"), id("l")), sub(id("b"), id("l")))],
  };

  /**
   * A step's formula as an element, or null where there is none by that name.
   * @param {string} name
   * @param {FormulaAbout} about
   */
  function formula(name, about) {
    if (!Object.hasOwn(FORMULAS, name)) return null;
    const node = m("math", m("mrow", ...FORMULAS[name](about)));
    node.setAttribute("class", "cv-formula");
    return node;
  }

  Object.assign(CV, { formula });
})();
