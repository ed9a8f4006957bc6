// Small charts as SVG that stretches with its box: lines that differ by width and dashes before they differ by colour.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el } = CV;
  const SVG = "http://www.w3.org/2000/svg";

  /**
   * An SVG element with attributes.
   * @param {string} tag
   * @param {Record<string, string | number>} attrs
   * @param {Node[]} children
   */
  function draw(tag, attrs, ...children) {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attrs)) node.setAttribute(name, String(value));
    node.append(...children);
    return node;
  }

  /** @type {(value: number) => number} */
  const round = (value) => Math.round(1000 * value) / 1000;
  /** @type {(points: Point[]) => string} */
  const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${round(x)} ${round(y)}`).join("");

  /**
   * The values that a vertical axis spans: from zero where that leaves room to see the lines, else a little around them.
   * @type {(values: number[]) => [number, number]}
   */
  function span(values) {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const bottom = low >= 0 && low < 0.6 * high ? 0 : low;
    return high > bottom ? [bottom, high] : [bottom - 0.5, bottom + 0.5];
  }

  /**
   * One chart as an element.
   * @param {Chart} about
   */
  function chart({ lines, band, range, zero, ends, said, value }) {
    const [bottom, top] = range;
    /** @type {(point: Point) => Point} */
    const at = ([x, y]) => [100 * x, 100 * (1 - (y - bottom) / (top - bottom))];
    const marks = [];
    if (band) {
      const upper = band.map(([x, , high]) => at([x, high]));
      const lower = band.map(([x, low]) => at([x, low])).reverse();
      marks.push(draw("path", { class: "cv-band", d: `${path([...upper, ...lower])}Z` }));
    }
    if (zero) marks.push(draw("path", { class: "cv-zero", d: path([at([0, 0]), at([1, 0])]) }));
    for (const { kind, points, dots } of lines) {
      marks.push(draw("path", { class: `cv-line cv-line-${kind}`, d: path(points.map(at)) }));
      // A line of no length with a round cap: a dot that stays round when the drawing is stretched.
      if (dots) marks.push(...points.map((point) => draw("path", { class: "cv-dot", d: path([at(point), at(point)]) })));
    }
    const plot = draw("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true", focusable: "false" }, ...marks);
    return el(
      "div",
      { class: "cv-chart", role: "img", "aria-label": said },
      el("span", { class: "cv-chart-top", text: value(top) }),
      el("span", { class: "cv-chart-bottom", text: value(bottom) }),
      el("div", { class: "cv-plot" }, plot),
      el("span", { class: "cv-chart-ends" }, el("span", { text: ends[0] }), el("span", { text: ends[1] })),
    );
  }

  /**
   * What each kind of line is. `entries` [[kind, text]]; "band" is an area.
   * @type {(entries: [kind: string, text: string][]) => HTMLElement}
   */
  function legend(entries) {
    return el(
      "ul",
      { class: "cv-legend" },
      ...entries.map(([kind, text]) => {
        const mark = kind === "band" ? draw("rect", { class: "cv-band", x: 0, y: 2, width: 24, height: 8 }) : draw("path", { class: `cv-line cv-line-${kind}`, d: "M1 6L23 6" });
        return el("li", {}, draw("svg", { width: 24, height: 12, "aria-hidden": "true", focusable: "false" }, mark), el("span", { text }));
      }),
    );
  }

  Object.assign(CV, { chart, legend, chartSpan: span });
})();
