// Work that can wait, done in short pieces after the frame that cannot.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});

  const PIECE = 4; // ms of one piece: what is pointed at next never waits for longer

  /**
   * One thing at a time: what is begun next ends what was begun before.
   * @param {boolean} now whether it begins in the very next task: of what the pointer does, the browser hears while it
   *   makes a frame, so that this frame comes first; else it begins after the frame that comes next
   * @returns {{begin: (work: () => Iterator<void>) => void, stop: () => void}} `work` may be left wherever it yields
   */
  function inPieces(now = false) {
    let turn = 0;
    const channel = new MessageChannel();
    /** @type {(() => void) | null} */
    let go = null;
    channel.port1.onmessage = () => go?.();

    /** @type {(work: () => Iterator<void>) => void} */
    function begin(work) {
      const own = ++turn;
      /** @type {Iterator<void> | null} */
      let steps = null;
      go = () => {
        if (own !== turn) return;
        steps ??= work();
        const end = performance.now() + PIECE;
        do if (steps.next().done) return void (go = null);
        while (performance.now() < end);
        channel.port2.postMessage(null);
      };
      if (now) return channel.port2.postMessage(null);
      // A message that is posted while a frame is made comes when the frame is on its way.
      requestAnimationFrame(() => own === turn && channel.port2.postMessage(null));
    }
    function stop() {
      turn++;
      go = null;
    }
    return { begin, stop };
  }

  Object.assign(CV, { inPieces });
})();
