// Where a map lies, in words: the upper right, the left and the lower right, all over the picture.
// Mirrors crossviz/render/places.py, in double precision.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});

  const EVERYWHERE = "all over";
  const SEVERAL = "several";
  const ONE = 2 / 3; // of the region's mass: what a single place holds
  const [TWO, SECOND] = [0.8, 0.25]; // what two places hold together, and the lesser of them
  const ACROSS = 0.2; // with so much of its mass in the first and in the last third, a part reaches across
  const COLUMNS = ["left", "middle", "right"];
  const ROWS = ["upper ", "", "lower "];

  /** @type {(position: number) => number} */
  const third = (position) => Math.min(2, Math.max(0, Math.floor(3 * position)));

  /**
   * The connected parts (also by corners) of what is inside, each as patch numbers in ascending order.
   * @type {(inside: boolean[], gh: number, gw: number) => number[][]}
   */
  function partsOf(inside, gh, gw) {
    const seen = new Uint8Array(inside.length);
    /** @type {number[][]} */
    const parts = [];
    for (let start = 0; start < inside.length; start++) {
      if (!inside[start] || seen[start]) continue;
      seen[start] = 1;
      const part = [start];
      for (const at of part) {
        const [row, col] = [Math.floor(at / gw), at % gw];
        for (let r = Math.max(0, row - 1); r < Math.min(gh, row + 2); r++) {
          for (let c = Math.max(0, col - 1); c < Math.min(gw, col + 2); c++) {
            const other = r * gw + c;
            if (!inside[other] || seen[other]) continue;
            seen[other] = 1;
            part.push(other);
          }
        }
      }
      parts.push(part.sort((a, b) => a - b));
    }
    return parts;
  }

  /**
   * The third that the middle of the mass lies in; null where it reaches across all of them.
   * @type {(thirds: number[]) => number | null}
   */
  function axisOf(thirds) {
    if (Math.min(thirds[0], thirds[2]) >= ACROSS) return null;
    if (thirds[0] > 0.5 || thirds[2] > 0.5) return thirds[0] > 0.5 ? 0 : 2;
    return 1;
  }

  /** @type {(column: number | null, row: number | null) => string} */
  function nameOf(column, row) {
    if (column === null && row === null) return EVERYWHERE;
    if (column === null) return ["the upper part", "the middle from side to side", "the lower part"][/** @type {number} */ (row)];
    if (row === null) return ["the left side", "the middle from top to bottom", "the right side"][column];
    return `the ${ROWS[row]}${COLUMNS[column]}`;
  }

  /**
   * The places in the photo of the smallest region of patches that holds a share of a map's positive mass.
   * @param {Float64Array} values raw, `gh * gw`
   * @param {Pick<Payload, "grid" | "view" | "photo">} payload
   * @param {number} share 0..1
   * @returns {string[]} one or two names, or [EVERYWHERE], or [SEVERAL]; empty for a map without mass
   */
  function places(values, { grid, view, photo }, share = 0.5) {
    const [gh, gw] = [grid.height, grid.width];
    const region = CV.smallestRegion(values, gh, gw, false, share);
    if (!region.mass) return [];
    const mass = Float64Array.from(values, (v) => Math.max(v, 0));
    const [x0, y0, x1, y1] = view.crop_xyxy;
    const x = Array.from({ length: gw }, (_, col) => third((x0 + ((col + 0.5) / gw) * (x1 - x0)) / photo.width));
    const y = Array.from({ length: gh }, (_, row) => third((y0 + ((row + 0.5) / gh) * (y1 - y0)) / photo.height));
    /** @type {Map<string, number>} */
    const held = new Map();
    for (const part of partsOf(Array.from(mass, (v) => v >= region.level), gh, gw)) {
      let total = 0;
      for (const at of part) total += mass[at];
      const [across, down] = [[0, 0, 0], [0, 0, 0]];
      for (const at of part) {
        across[x[at % gw]] += mass[at] / total;
        down[y[Math.floor(at / gw)]] += mass[at] / total;
      }
      const name = nameOf(axisOf(across), axisOf(down));
      held.set(name, (held.get(name) || 0) + total);
    }
    let whole = 0;
    for (const part of held.values()) whole += part;
    const [best, second = ["", 0]] = [...held].sort((a, b) => b[1] - a[1]);
    const two = second[1] >= SECOND * whole && best[1] + second[1] >= TWO * whole;
    if (two && best[0] !== EVERYWHERE && second[0] !== EVERYWHERE) return [best[0], second[0]];
    return best[1] >= ONE * whole ? [best[0]] : [SEVERAL];
  }

  /** Of a kind of map the verb, what comes between it and a place, and what before "all over the picture". */
  const VERBS = { looks: ["looks", "at", ""], looked: ["is looked at", "from", "from "], lies: ["lies", "at", ""], wrote: ["wrote", "at", ""] };

  /**
   * One sentence that says where a map lies, as `render.sentences.map_sentence`.
   * @param {string} name the word or phrase
   * @param {Field} field its maps
   * @param {number|null} nullMass
   * @param {Stats} stats of the region that holds a share
   * @param {string[]} where as `places`
   */
  function mapSentence(name, field, nullMass, stats, where) {
    const quoted = `\u2018${name}\u2019`;
    const { percent } = CV;
    if (nullMass !== null && nullMass >= CV.NOTHING) return `${quoted} looked, and found nothing here (null ${percent(nullMass)}).`;
    const looks = field.isProbability && field.reads;
    const [verb, at, far] = VERBS[!looks ? "lies" : field.wrote ? "wrote" : field.looked ? "looked" : "looks"];
    const subject = !field.reads ? "The map, the same for every word," : looks ? quoted : `The map of ${quoted}`;
    const doubt = nullMass !== null && nullMass > CV.ABSENT ? `, and may not be here at all (null ${percent(nullMass)})` : "";
    if (!field.stands(stats.half.level) || !where.length) return `${subject} ${verb} ${far}nowhere in particular${doubt}.`;
    let place = `mostly ${at} ${where[0]}`;
    if (where.length > 1) place = `${at} two places, ${where.join(" and ")}`;
    else if (where[0] === EVERYWHERE) place = `${far}all over the picture`;
    else if (where[0] === SEVERAL) place = `${at} several places`;
    const held = stats.half.mass * (nullMass === null ? 1 : 1 - nullMass);
    const what = !looks ? "of it" : field.looked ? "of this attention" : "of its attention";
    return `${subject} ${verb} ${place}, ${percent(held)} ${what} in ${percent(stats.half.area)} of the picture${doubt}.`;
  }

  Object.assign(CV, { places, mapSentence });
})();
