"use strict";
// Every PAUSE the live parts are asked for anew, and those that differ are put
// in. Markup comes ready from the node, with all names escaped there.
(() => {
  const PAUSE = 2000;
  const PATIENCE = 8000;
  const page = document.getElementById("page");
  const pulse = document.getElementById("pulse");
  const silence = document.getElementById("silence");
  let heard = Date.now();
  let timer = 0;
  let asking = false;

  const say = (state, words) => {
    if (pulse.textContent !== words) pulse.textContent = words;
    document.documentElement.dataset.beat = state;
  };

  const isOpen = (part) => [...part.querySelectorAll("details[open]")].map((each) => each.id);

  // What somebody is about to copy stays until they are done.
  const isSelected = (part) => {
    const selection = getSelection();
    return !selection.isCollapsed && selection.containsNode(part, true);
  };

  const replace = (old, fresh) => {
    const held = old.contains(document.activeElement) ? document.activeElement.id : "";
    const open = isOpen(old);
    old.replaceChildren(...fresh.childNodes);
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (held) document.getElementById(held)?.focus({ preventScroll: true });
  };

  const take = (markup) => {
    const seen = new DOMParser().parseFromString(markup, "text/html");
    const now = seen.getElementById("page");
    if (!now) throw new Error("not the page");
    // Another release of the node has another page.
    if (now.dataset.release !== page.dataset.release) {
      location.reload();
      return;
    }
    if (document.title !== now.dataset.title) document.title = now.dataset.title;
    for (const fresh of seen.querySelectorAll("[data-live]")) {
      const old = document.getElementById(fresh.id);
      const differs = old && old.innerHTML !== fresh.innerHTML;
      if (differs && !isSelected(old)) replace(old, fresh);
    }
  };

  const answered = () => {
    heard = Date.now();
    silence.hidden = true;
    say("live", "live, every 2 s");
  };

  const unanswered = () => {
    const seconds = Math.round((Date.now() - heard) / 1000);
    const then = new Date(heard).toLocaleTimeString();
    const words = `The node does not answer. What you see is as it was at ${then}, ${seconds} s ago.`;
    // Said aloud once; after that only the count goes on.
    if (silence.hidden) silence.textContent = words;
    silence.hidden = false;
    say("silent", `no answer for ${seconds} s`);
  };

  const look = async () => {
    clearTimeout(timer);
    if (asking || document.hidden) return;
    asking = true;
    const stop = new AbortController();
    const limit = setTimeout(() => stop.abort(), PATIENCE);
    try {
      const reply = await fetch(`page/live${location.search}`, {
        cache: "no-store",
        signal: stop.signal,
      });
      if (!reply.ok) throw new Error(String(reply.status));
      take(await reply.text());
      answered();
    } catch {
      unanswered();
    } finally {
      clearTimeout(limit);
      asking = false;
      timer = setTimeout(look, PAUSE);
    }
  };

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      clearTimeout(timer);
      say("paused", "paused");
    } else {
      look();
    }
  });
  say("live", "live, every 2 s");
  timer = setTimeout(look, PAUSE);
})();
