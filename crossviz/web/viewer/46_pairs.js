// Which words of one caption answer to which of another. Mirrors crossviz/pairs.py.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});

  const LONGEST = 3; // words of a run that a run of another length may take the place of, as pairs.LONGEST

  /**
   * The pairs of two stretches [start, end) that have no word in common.
   * @type {(a: number, b: number, c: number, d: number) => WordPair[]}
   */
  function between(a, b, c, d) {
    /** @type {(from: number, to: number, pair: (k: number) => Partial<WordPair>) => WordPair[]} */
    const each = (from, to, pair) => Array.from({ length: to - from }, (_, k) => ({ first: null, second: null, same: false, ...pair(k) }));
    if (b - a === d - c) return each(a, b, (k) => ({ first: [a + k, a + k], second: [c + k, c + k] }));
    if (a < b && c < d && Math.max(b - a, d - c) <= LONGEST) return [{ first: [a, b - 1], second: [c, d - 1], same: false }];
    return [...each(a, b, (k) => ({ first: [a + k, a + k] })), ...each(c, d, (k) => ({ second: [c + k, c + k] }))];
  }

  /**
   * Words that read alike are paired along a longest common subsequence; what stands between is replaced one by one where
   * there are as many on both sides, run by run where the runs are short, and has no counterpart else.
   * @param {string[]} first
   * @param {string[]} second
   * @returns {WordPair[]} runs of words, [first, last]
   */
  function wordPairs(first, second) {
    const [one, other] = [first, second].map((words) => words.map((word) => word.toLowerCase()));
    const [n, m] = [one.length, other.length];
    const common = Array.from({ length: n + 1 }, () => new Uint16Array(m + 1)); // of what follows each pair of places
    for (let i = n - 1; i >= 0; i--) {
      for (let j = m - 1; j >= 0; j--) {
        common[i][j] = one[i] === other[j] ? 1 + common[i + 1][j + 1] : Math.max(common[i + 1][j], common[i][j + 1]);
      }
    }
    /** @type {WordPair[]} */
    const pairs = [];
    let [i, j, begunI, begunJ] = [0, 0, 0, 0];
    while (i < n && j < m) {
      if (one[i] === other[j]) {
        pairs.push(...between(begunI, i, begunJ, j), { first: [i, i], second: [j, j], same: true });
        [begunI, begunJ] = [++i, ++j];
      } else if (common[i + 1][j] >= common[i][j + 1]) i++;
      else j++;
    }
    return [...pairs, ...between(begunI, n, begunJ, m)];
  }

  /**
   * What stands in the place of a run of words, and the run itself, widened to every run that was replaced as a whole.
   * @param {WordPair[]} pairs of `wordPairs`
   * @param {"first" | "second"} side whose words `what` names
   * @param {What} what a word or a run (CV.runOf)
   * @returns {Both}
   */
  function paired(pairs, side, what) {
    const words = CV.membersOf(what);
    const last = words[words.length - 1];
    const hit = pairs.filter(({ [side]: run }) => run && run[0] <= last && words[0] <= run[1]);
    /** @type {(name: "first" | "second", own: [number, number][]) => What | null} */
    const run = (name, own) => {
      const runs = [...hit.map((pair) => pair[name]).filter((run) => run !== null), ...own];
      return runs.length ? CV.runOf(Math.min(...runs.map(([a]) => a)), Math.max(...runs.map(([, b]) => b))) : null;
    };
    const other = side === "first" ? "second" : "first";
    const [own, theirs] = [run(side, [[words[0], last]]), run(other, [])];
    return side === "first" ? { first: own, second: theirs } : { first: theirs, second: own };
  }

  Object.assign(CV, { wordPairs, paired });
})();
