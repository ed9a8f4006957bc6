// What the page does when the server does not answer as usual: it is busy, has no room, is gone, or has forgotten this
// visit. Gradio would say so in a corner, and load the page anew, without the visitor's photo and caption. Here it is
// said where the question's own errors are, everything stays, and the next question finds the server again.
((BUILD) => {
  if (window.crossvizReach) return;
  window.crossvizReach = true;
  const GONE = "The server can't be reached: try again in a moment. Your photo and caption are kept.";
  const HERE = "x-crossviz-page", UNHEARD = "x-crossviz-unheard", MOST_FILES = 4, MOST_EARLY = 64;
  const ask = window.fetch.bind(window);
  const open = new Map(); // questions that are not answered yet, by event
  const early = new Set(); // questions whose answer came before it was known that they are this page's
  const sent = new Map(); // files that this page sent, by their path on the server
  const moved = new Map(); // paths that the server no longer has, and where it has the file now
  const said = new Set(); // where something was said that the server does not know of

  const viewer = () => document.querySelector("#cv-viewer .cv-host");
  const tell = (element, name, detail) => element?.dispatchEvent(new CustomEvent(name, { detail }));
  const fetched = (path) => `${window.gradio_config.root.replace(/\/$/, "")}/gradio_api/${path}`;

  /** The names of the page's parts that a question changes. */
  function outputs({ fn_index }) {
    const { dependencies, components } = window.gradio_config;
    const changed = dependencies.find(({ id }) => id === fn_index)?.outputs ?? [];
    return changed.map((id) => components.find((part) => part.id === id)?.props.elem_id || "");
  }

  /** Says why there is no answer where that question's errors are said, and ends its waiting. */
  function say(asked, text) {
    const parts = outputs(asked);
    const told = asked.event_data?.run === undefined ? null : { run: asked.event_data.run, error: text };
    if (told && parts.some((part) => part === "cv-checked" || part === "cv-located")) return tell(viewer(), "cv-trust", told);
    if (told && parts.includes("cv-opened")) return tell(viewer(), "cv-inside", told);
    if (parts.includes("cv-viewer")) tell(viewer(), "cv-lost");
    if (parts.includes("cv-compare-picture")) tell(document.querySelector("#cv-compare-picture .cv-picture"), "cv-lost");
    if (parts.includes("cv-generation")) tell(document.querySelector("#cv-generation .cv-generation-host"), "cv-over");
    const errors = parts.filter((part) => part.endsWith("-error"));
    write(errors.find((part) => part.endsWith("-general-error")) ?? errors[0], text);
  }

  function write(part, text) {
    if (!part) return;
    said.add(part);
    tell(document.querySelector(`#${part}-text`), "cv-said", text);
  }

  function unsay() {
    for (const part of said) tell(document.querySelector(`#${part}-text`), "cv-said", "");
    said.clear();
  }

  /** What Gradio takes for a question that needs no more from it: no error in a corner, no new page. */
  const over = () => new Response('{"detail": []}', { status: 422, headers: { "content-type": "application/json" } });

  async function join(input, init) {
    const asked = JSON.parse(init.body);
    const headers = new Headers(init.headers);
    headers.set(HERE, BUILD);
    let body = replaced(init.body), answer;
    try {
      answer = await ask(input, { ...init, headers, body });
      if (answer.status === 409) {
        await again((await answer.json()).gone);
        answer = await ask(input, { ...init, headers, body: replaced(body) });
      }
    } catch (error) {
      if (error.name === "AbortError") throw error;
      say(asked, GONE);
      return over();
    }
    if (answer.headers.has(UNHEARD)) listen();
    if (answer.ok) {
      unsay();
      const { event_id } = await answer.clone().json();
      if (!early.delete(event_id)) open.set(event_id, asked);
    } else if (answer.status >= 409 && answer.status !== 422) {
      const { detail } = await answer.json().catch(() => ({}));
      say(asked, typeof detail === "string" ? detail : GONE);
      return over();
    }
    return answer;
  }

  /** Sends files again that the server no longer has. */
  async function again(paths) {
    for (const path of paths) {
      const form = new FormData();
      const file = sent.get(path) ?? (await shown());
      form.append("files", file, file.name ?? "photo.png");
      const [now] = await (await ask(fetched("upload"), { method: "POST", body: form })).json();
      sent.set(now, file);
      moved.set(path, now);
    }
  }

  function replaced(body) {
    const inside = (path) => JSON.stringify(path).slice(1, -1);
    for (const [before, now] of moved) body = body.replaceAll(inside(before), inside(now));
    return body;
  }

  /** The photo in its field, pixel by pixel, where it did not come from this page. */
  function shown() {
    const image = document.querySelector("#cv-photo img");
    const canvas = Object.assign(document.createElement("canvas"), { width: image.naturalWidth, height: image.naturalHeight });
    canvas.getContext("2d").drawImage(image, 0, 0);
    return new Promise((done) => canvas.toBlob(done, "image/png"));
  }

  async function upload(input, init) {
    let answer;
    try {
      answer = await ask(input, init);
    } catch (error) {
      write("cv-photo-error", GONE);
      throw error;
    }
    if (answer.ok) {
      const files = init.body.getAll("files");
      (await answer.clone().json()).forEach((path, at) => sent.set(path, files[at]));
      for (const path of [...sent.keys()].slice(0, -MOST_FILES)) sent.delete(path);
    } else if (answer.status === 507) {
      write("cv-photo-error", (await answer.clone().json()).detail);
    }
    return answer;
  }

  /** What comes of the questions: when it breaks off, those that are open are over. */
  async function data(input, init) {
    const text = new TextDecoder(), bytes = new TextEncoder();
    let rest = "", answer = null;
    // The messages that are whole, so that what follows a break stands by itself; none where the server gives up.
    const note = (chunk) => {
      const messages = (rest + text.decode(chunk, { stream: true })).split("\n\n");
      rest = messages.pop();
      if (messages.some((message) => message.includes('"msg":"unexpected_error"'))) return null;
      for (const message of messages) {
        if (message.includes('"msg":"process_completed"')) completed(message.match(/"event_id":"(\w+)"/)?.[1]);
        if (message.includes('"msg":"estimation"')) queued(JSON.parse(message.slice(6)));
      }
      return bytes.encode(messages.map((message) => `${message}\n\n`).join(""));
    };
    const lost = () => {
      const none = { msg: "process_completed", output: {}, success: true };
      const ends = [...open.keys()].map((event_id) => ({ ...none, event_id }));
      for (const asked of open.values()) say(asked, GONE);
      open.clear();
      return bytes.encode([...ends, { msg: "close_stream" }].map((end) => `data: ${JSON.stringify(end)}\n\n`).join(""));
    };
    try {
      answer = await ask(input, init);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      return new Response(lost(), { headers: { "content-type": "text/event-stream" } });
    }
    if (!answer.ok || !answer.body) return new Response(lost(), { headers: { "content-type": "text/event-stream" } });
    const reader = answer.body.getReader();
    const stream = new ReadableStream({
      async pull(controller) {
        try {
          const { done, value } = await reader.read();
          const whole = done ? null : note(value);
          if (whole) return controller.enqueue(whole);
          if (open.size || !done) controller.enqueue(lost());
          controller.close();
          if (!done) reader.cancel().catch(() => {});
        } catch (error) {
          if ((init.signal ?? input.signal)?.aborted) return controller.error(error);
          controller.enqueue(lost());
          controller.close();
        }
      },
      cancel: (reason) => reader.cancel(reason),
    });
    return new Response(stream, { status: answer.status, headers: answer.headers });
  }

  function completed(event) {
    if (open.delete(event)) return;
    early.add(event);
    for (const other of [...early].slice(0, -MOST_EARLY)) early.delete(other);
  }

  /** How many questions are answered before one of ours, which has not begun. */
  function queued({ event_id, rank, rank_eta }) {
    const asked = open.get(event_id);
    if (!asked || !rank || !outputs(asked).includes("cv-viewer")) return;
    const before = `${rank} ${rank > 1 ? "questions are" : "question is"} answered before yours`;
    tell(viewer(), "cv-queued", `waiting: ${before}${rank_eta >= 1 ? `, about ${Math.ceil(rank_eta)} s` : ""}`);
  }

  let own = null, leaving = false;
  addEventListener("pagehide", () => { leaving = true; own?.abort(); });
  addEventListener("pageshow", ({ persisted }) => { leaving = false; if (persisted) listen(); });

  /** Opens the line by which the server knows that this page is open, and opens it again whenever it breaks off. */
  async function listen() {
    own?.abort();
    const { signal } = (own = new AbortController());
    for (let pause = 0; !leaving && !signal.aborted; ) {
      const began = Date.now();
      try {
        const path = fetched(`heartbeat/${window.__gradio_session_hash__}`);
        await ended((await ask(path, { signal })).body.getReader());
      } catch {
        // again, below
      }
      pause = Date.now() - began > 10000 ? 0 : Math.min(60000, 2 * pause + 500);
      if (pause) await new Promise((done) => setTimeout(done, pause));
    }
  }

  /** Reads to the end. */
  async function ended(reader) {
    while (!(await reader.read()).done);
  }

  // Gradio's own line, which it opens once, before this is here: when it breaks off, ours takes its place.
  new PerformanceObserver((loaded) => {
    if (!own && loaded.getEntries().some(({ name }) => name.includes("/gradio_api/heartbeat/"))) listen();
  }).observe({ type: "resource", buffered: true });

  /** A question that stands in no line: without the server it changes nothing. */
  async function at_once(input, init) {
    try {
      return await ask(input, init);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      const data = outputs(JSON.parse(init.body)).map(() => ({ __type__: "update" }));
      return new Response(JSON.stringify({ data }), { headers: { "content-type": "application/json" } });
    }
  }

  window.fetch = (input, init) => {
    const { pathname } = new URL(input.url ?? input, location.href);
    if (pathname.endsWith("/queue/join") && typeof init?.body === "string") return join(input, init);
    if (pathname.includes("/gradio_api/run/") && typeof init?.body === "string") return at_once(input, init);
    if (pathname.endsWith("/queue/data")) return data(input, init ?? {});
    if (pathname.endsWith("/gradio_api/upload") && init?.body instanceof FormData) return upload(input, init);
    return ask(input, init);
  };
})(/* which parts there are */);
