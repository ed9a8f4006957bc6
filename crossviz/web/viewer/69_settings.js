// What is set in a view as one JSON object: for links, saved files and undo. Mirrors crossviz/view_settings.py.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});

  const MOST_HELD = 6; // as many as there are hues that people with any colour vision tell apart
  const MOST_PINS = 4096; // more than any model has heads: a list from elsewhere is read no further
  /** @type {(value: any) => boolean | undefined} */
  const flag = (value) => (typeof value === "boolean" ? value : undefined);
  /**
   * How maps are drawn: what of a value is possible, or undefined. The opacity in the slider's steps.
   * @type {Record<keyof Drawing, (value: any, maps: string[]) => unknown>}
   */
  const DRAWN = {
    smooth: flag,
    own: flag,
    opacity: (value) => (typeof value === "number" && value >= 0 && value <= 1 ? Math.round(20 * value) / 20 : undefined),
    cmap: (value, maps) => (maps.includes(value) ? value : undefined),
    contour: (value) => ([0, 0.5, 0.8].includes(value) ? value : undefined),
    saw: flag,
  };
  const KEYS = /** @type {(keyof Drawing)[]} */ (Object.keys(DRAWN));

  /**
   * The settings of a view.
   * @param {Field} field
   * @param {ViewState} state
   * @returns {Settings} `shown`: what is shown while nothing is held, [start, end] in the caption's characters, or
   *   null;
   *   `held`: several of these in the order in which they were clicked; `layer`: its name, or null for all; `head`: an
   *   index, null for all, or [[layer name, index], ...] of those that are pinned; `smooth`, `own`, `opacity`, `cmap`,
   *   `contour`, `saw`
   */
  function settingsOf(field, state) {
    /** @type {(what: What) => [number, number]} */
    const span = (what) => [field.span(what).start, field.span(what).end];
    /** @type {(layer: number | null) => string | null} */
    const name = (layer) => (layer === null ? null : field.layers[layer]);
    /** @type {Drawing} */
    const drawn = /** @type {any} */ (Object.fromEntries(KEYS.map((key) => [key, state[key]])));
    return {
      shown: state.shown === null ? null : span(state.shown),
      held: [...state.held.keys()].map(span),
      layer: name(state.layer),
      head: Array.isArray(state.head) ? state.head.map(([layer, head]) => [field.layers[layer], head]) : state.head,
      ...drawn,
    };
  }

  /**
   * The word or phrase (`CV.runOf`) from the first character to the last, or null where no words that were read are so.
   * @type {(field: Field, span: any) => What | null}
   */
  function runAt(field, span) {
    if (!Array.isArray(span) || span.length !== 2) return null;
    const { words } = field.caption;
    const first = words.findIndex((word) => word.start === span[0]);
    const last = words.findLastIndex((word) => word.end === span[1]);
    if (first < 0 || last < first || words.slice(first, last + 1).some((word) => word.truncated)) return null;
    return CV.runOf(first, last);
  }

  /**
   * What of some settings is possible in a view, in the terms of its state (`held`: a list); anything else is left out.
   * @param {Field} field
   * @param {string[]} maps names of the colour maps
   * @param {*} wanted anything: it may come from a link
   * @returns {PossibleSettings}
   */
  function possibleSettings(field, maps, wanted) {
    /** @type {PossibleSettings} */
    const found = {};
    if (typeof wanted !== "object" || wanted === null) return found;
    for (const key of KEYS) {
      const value = DRAWN[key](wanted[key], maps);
      if (value !== undefined) Object.assign(found, { [key]: value });
    }
    const shown = runAt(field, wanted.shown);
    if (shown !== null || wanted.shown === null) found.shown = shown;
    if (Array.isArray(wanted.held)) {
      found.held = [];
      /** @type {Set<number>} */
      const taken = new Set();
      for (const run of wanted.held.slice(0, 4 * MOST_HELD).map((/** @type {any} */ span) => runAt(field, span))) {
        const words = run === null ? [] : CV.membersOf(run);
        if (!words.length || words.some((word) => taken.has(word)) || found.held.length === MOST_HELD) continue;
        words.forEach((word) => taken.add(word));
        found.held.push(run);
      }
    }
    return Object.assign(found, field.hasHeads ? through(field, wanted) : {});
  }

  /**
   * The layer and head of some settings, those that there are.
   * @type {(field: Field, wanted: {layer?: any, head?: any}) => Partial<Through>}
   */
  function through(field, { layer, head }) {
    /** @type {Partial<Through>} */
    const found = {};
    const at = field.layers.indexOf(layer);
    /** @type {(value: any) => boolean} */
    const isHead = (value) => Number.isInteger(value) && value >= 0 && value < field.heads;
    if (layer === null || at >= 0) found.layer = layer === null ? null : at;
    if (head === null || isHead(head)) found.head = head;
    if (!Array.isArray(head)) return found;
    /** @type {Map<number, Pin>} */
    const pins = new Map();
    for (const pin of head.slice(0, MOST_PINS)) {
      if (!Array.isArray(pin) || !field.layers.includes(pin[0]) || !isHead(pin[1])) continue;
      const place = field.layers.indexOf(pin[0]);
      pins.set(place * field.heads + pin[1], [place, pin[1]]);
    }
    const list = [...pins.values()];
    if (list.length > 1) return { layer: null, head: list };
    return list.length ? { layer: list[0][0], head: list[0][1] } : found;
  }

  Object.assign(CV, { MOST_HELD, DRAWN_SETTINGS: KEYS, settingsOf, possibleSettings });
})();
