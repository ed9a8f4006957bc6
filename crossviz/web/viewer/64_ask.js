// "Which words look here?": at a patch, or into a box that is drawn on the photo.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { percent, figure } = CV;

  const TEXTS = {
    draw: "Draw a box",
    remove: "Clear the box",
    idle: "A box on the photo asks which words look there.",
    about: "Which words look here?",
  };

  /**
   * The words that look at a patch, best first.
   * @param {Payload} payload
   * @param {Field} field
   * @param {Through & {own: boolean}} now
   * @param {Patch} patch
   * @returns {Ranked} looks 0..1 per word
   */
  function rankAt(payload, field, now, { row, col }) {
    const looks = payload.caption.words.map(() => 0);
    /** @type {{text: string, value: number, said: string, t: number}[]} */
    const list = [];
    payload.caption.words.forEach((word, index) => {
      if (word.truncated) return;
      const values = field.values(index, now.layer, now.head);
      const value = values[row * field.gw + col] * field.factor;
      const t = CV.position(value, field.scaleFor(values, now));
      looks[index] = Math.max(0, t);
      if (t > 0) list.push({ text: word.text, value, said: CV.amount(value, field), t });
    });
    list.sort((a, b) => b.value - a.value);
    return { looks, list: list.slice(0, CV.RANKED), place: `Row ${row + 1}, column ${col + 1}` };
  }

  /**
   * How much of a map lies in a box, of each patch as much as the box covers. Of probabilities it is a share of all that
   * the word gives, null key included; of other maps a share of what speaks for the word.
   * @param {Payload} payload
   * @param {Field} field
   * @param {Float64Array} values raw, `gh * gw`
   * @param {number[]} box [x0, y0, x1, y1] in pixels of the photo
   * @returns {{share: number, area: number}} `area`: the box's share of what the model saw
   */
  function insideBox(payload, field, values, box) {
    const [x0, y0, x1, y1] = payload.view.crop_xyxy;
    const { gh, gw } = field;
    /** @type {(low: number, high: number, start: number, end: number, cells: number) => Float64Array} */
    const covered = (low, high, start, end, cells) => {
      /** @type {(v: number) => number} */
      const at = (v) => Math.min(cells, Math.max(0, ((v - start) / (end - start)) * cells));
      const [a, b] = [at(low), at(high)];
      return Float64Array.from({ length: cells }, (_, i) => Math.max(0, Math.min(i + 1, b) - Math.max(i, a)));
    };
    const across = covered(box[0], box[2], x0, x1, gw);
    const down = covered(box[1], box[3], y0, y1, gh);
    let inside = 0;
    let total = 0;
    for (let r = 0; r < gh; r++) {
      for (let c = 0; c < gw; c++) {
        const v = Math.max(values[r * gw + c], 0);
        total += v;
        inside += v * down[r] * across[c];
      }
    }
    /** @type {(list: Float64Array) => number} */
    const sum = (list) => list.reduce((all, v) => all + v, 0);
    const whole = field.isProbability ? 1 : total;
    return { share: whole > 0 ? inside / whole : 0, area: (sum(across) * sum(down)) / (gh * gw) };
  }

  /**
   * The box, its controls, and who looks there. It outlives the explanation, as long as the photo is the same.
   * @param {Payload} payload
   * @param {Field} field
   * @param {Stage} stage
   * @param {{ask: PhotoBox | null}} prefs
   * @param {{changed: () => void}} act
   * @returns {{node: HTMLElement | null, rank: (state: Through) => Ranked | null}} rank: null without a box
   */
  function askBox(payload, field, stage, prefs, act) {
    const box = CV.boxOn(payload, stage, changed, { ...TEXTS, className: "cv-ask" });
    if (prefs.ask && prefs.ask.photo === payload.photo.src) box.put(prefs.ask.pixels);
    /** @type {(pixels: Box | null) => void} */
    function changed(pixels) {
      prefs.ask = pixels && { photo: payload.photo.src, pixels };
      act.changed();
    }

    /**
     * As the words at a patch: {looks: 0..1 per word, list: [{text, said, t}], place, none}.
     * @type {(state: Through) => Ranked | null}
     */
    function rank({ layer, head }) {
      const pixels = box.box();
      if (!pixels) return null;
      const looks = payload.caption.words.map(() => 0);
      /** @type {{index: number, text: string, share: number}[]} */
      const found = [];
      let area = 0;
      payload.caption.words.forEach((word, index) => {
        if (word.truncated) return;
        const one = insideBox(payload, field, field.values(index, layer, head), pixels);
        area = one.area;
        if (one.share > one.area) found.push({ index, text: word.text, share: one.share });
      });
      found.sort((a, b) => b.share - a.share);
      const top = found.length ? found[0].share : 1;
      for (const { index, share } of found) looks[index] = share / top;
      return {
        looks,
        list: found.slice(0, CV.RANKED).map(({ text, share }) => ({ text, said: `${percent(share)}, ${figure(share / area)}\u202f×`, t: Math.min(1, share) })),
        place: area > 0 ? `In the box: ${percent(area)} of the picture` : "The model did not see this part",
        none: area > 0 ? "No word has more of its attention here than the box has of the picture." : "It was cut off.",
      };
    }
    return { node: box.node, rank };
  }

  Object.assign(CV, { askBox, insideBox, rankAt });
})();
