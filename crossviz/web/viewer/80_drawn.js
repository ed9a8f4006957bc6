// A generated picture's numbers (crossviz/render/generation_payload.py) in the terms of the viewer: a field for each
// direction of the attention, as it was when only a part of the picture was written.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});

  /**
   * Makes its maps readable; once is enough.
   * @param {Generation} generation
   * @returns {Promise<void>} fails with one sentence for the reader
   */
  const unpackGeneration = ({ directions }) => CV.unpackAll(directions.flatMap(({ means, maps, steps }) => [means, maps, steps]));

  /**
   * One direction as a payload of the viewer: the picture is the photo, and the grid covers all of it.
   * @param {Generation} generation
   * @param {GenerationMaps} maps
   * @returns {Payload}
   */
  function asPayload(generation, maps) {
    const { width, height } = generation.picture;
    const { model } = generation;
    return {
      id: generation.id,
      schema: generation.schema,
      photo: generation.picture,
      view: { crop_xyxy: [0, 0, width, height] },
      grid: generation.grid,
      chance: maps.chance,
      caption: generation.caption,
      phrases: [],
      model: { ...model, title: model.name, sentence: "", attention_sentence: "" },
      method: {
        name: "cross_attention",
        title: "Cross-attention while drawing",
        unit: "probability",
        signed: false,
        reduce: "mean",
        direction: maps.direction,
        text_dependent: true,
        notes: generation.notes,
      },
      layers: maps.layers,
      heads: maps.heads,
      maps: maps.maps,
      means: maps.means,
      null: maps.none_of && { head: maps.none_of, mean: meanOf(maps.none_of) },
      similarity: null,
      vmax: maps.vmax,
      provenance: generation.provenance,
      trust: {},
    };
  }

  /** @type {(heads: number[][][]) => number[]} */
  function meanOf(heads) {
    const all = heads.flat();
    return all[0].map((_, word) => all.reduce((sum, one) => sum + one[word], 0) / all.length);
  }

  /**
   * A field of which only what was there after so many steps is left: where each place is written once, the places
   * written by then; where every step draws all, that step's own maps.
   * @param {Generation} generation
   * @param {GenerationMaps} maps
   * @param {Field} field
   * @param {number} done
   * @returns {Field}
   */
  function fieldAt(generation, maps, field, done) {
    const { written } = generation;
    const next = maps.step_numbers.findIndex((step) => step >= done);
    const at = done ? next : -1; // before the first step nothing was asked
    const ofSteps = maps.steps && new CV.Maps(maps.steps, field.gh, field.gw);
    /** @type {Field} */
    const then = Object.create(field); // all that it works out goes by `values`, and is remembered here
    then._cache = new Map();
    then.values = (what, layer = null, head = null) =>
      then._remember(`v${what}.${layer}.${head}`, () => {
        if (!ofSteps) return field.values(what, layer, head).map((v, place) => (written && written[place] >= done ? 0 : v));
        const out = new Float64Array(field.size);
        for (const [word, weight] of field.weights(what)) {
          const one = at < 0 ? out : ofSteps.map(at * field.words + word);
          for (let i = 0; at >= 0 && i < out.length; i++) out[i] += weight * one[i];
        }
        return out;
      });
    return then;
  }

  /**
   * What a place asked each word, or each word that place, best first.
   * @param {GenerationMaps} maps
   * @param {Field} field
   * @param {Through} now
   * @param {Patch} patch
   * @returns {Ranked}
   */
  function askedAt(maps, field, now, { row, col }) {
    const place = row * field.gw + col;
    const asks = !maps.none_of; // the places ask the words
    const at = `Row ${row + 1}, column ${col + 1}`;
    const { words } = field.caption;
    const values = words.map((word, index) => (word.truncated ? 0 : field.values(index, now.layer, now.head)[place]));
    const most = Math.max(...values);
    const looks = values.map((value) => (most > 0 ? value / most : 0));
    /** @type {{text: string, value: number}[]} */
    const list = words.map(({ text }, index) => ({ text, value: values[index] }));
    if (asks && most > 0) {
      // What all words and none get adds up to 1 at every place, at every step, in every layer and head.
      list.push({ text: "no word", value: Math.max(0, 1 - values.reduce((sum, value) => sum + value, 0)) });
    }
    const shown = list.filter(({ value }) => value > 0.0005).sort((a, b) => b.value - a.value).slice(0, CV.RANKED);
    return {
      looks,
      place: asks ? `${at} asked` : `${at} was asked by`,
      list: shown.map(({ text, value }) => ({
        text,
        said: asks ? CV.percent(value) : CV.amount(value * field.factor, field),
        t: asks ? value : value / most,
      })),
      none: most > 0 ? undefined : "Nothing had been written here yet, or no word was asked.",
    };
  }

  Object.assign(CV, { unpackGeneration, asPayload, fieldAt, askedAt });
})();
