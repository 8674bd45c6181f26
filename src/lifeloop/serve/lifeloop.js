// lifeloop: page views, impressions and clicks of a page. See docs/serve.md.
// <script src="…/lifeloop.js" data-key="ll_…" data-user="…" defer></script>
// <a data-lifeloop-item="id" data-lifeloop-request="…" data-lifeloop-position="0" href="…">
(function (w, d) {
  "use strict";
  var tag = d.currentScript;
  if (!tag || w.lifeloop) return;
  var url = (tag.dataset.url || new URL(tag.src).origin) + "/v1/events?key=" +
    encodeURIComponent(tag.dataset.key || "");
  var QUEUE = "lifeloop.queue", VISITOR = "lifeloop.visitor", SESSION = "lifeloop.session";
  var MOST = 500, BATCH = 50, EVERY = 2000, LONGEST = 60000;
  var user = tag.dataset.user || null, wait = EVERY, timer = null, sending = false;
  var memory = {};

  function read(key) {
    try { return w.localStorage.getItem(key); } catch (e) { return memory[key] || null; }
  }
  function write(key, value) {
    memory[key] = value;
    try { w.localStorage.setItem(key, value); } catch (e) { /* private window: memory only */ }
  }
  function id() {
    if (w.crypto && w.crypto.randomUUID) return w.crypto.randomUUID();
    var b = w.crypto.getRandomValues(new Uint8Array(16));
    return Array.prototype.map.call(b, function (x) {
      return ("0" + x.toString(16)).slice(-2);
    }).join("");
  }
  function named(key) {
    var held = read(key);
    if (!held) write(key, held = id());
    return held;
  }
  function queue() {
    try { return JSON.parse(read(QUEUE) || "[]"); } catch (e) { return []; }
  }
  function session() {
    try {
      var held = w.sessionStorage.getItem(SESSION);
      if (!held) w.sessionStorage.setItem(SESSION, held = id());
      return held;
    } catch (e) { return memory[SESSION] || (memory[SESSION] = id()); }
  }

  function track(type, fields) {
    var event = { event_id: id(), type: type, occurred_at: new Date().toISOString(),
      anonymous_id: named(VISITOR), session_id: session() };
    if (user) event.user_id = user;
    Object.keys(fields || {}).forEach(function (name) { event[name] = fields[name]; });
    write(QUEUE, JSON.stringify(queue().concat([event]).slice(-MOST)));
    later(wait > EVERY ? wait : EVERY / 4);
    return event.event_id;
  }
  function later(ms) {
    if (timer === null) timer = setTimeout(function () { timer = null; flush(); }, ms);
  }
  // An event leaves the queue when the server has it; sent twice, it is one event there.
  function done(sent) {
    var ids = {};
    sent.forEach(function (event) { ids[event.event_id] = 1; });
    write(QUEUE, JSON.stringify(queue().filter(function (e) { return !ids[e.event_id]; })));
  }
  function flush() {
    var part = queue().slice(0, BATCH);
    if (!part.length || sending) return;
    sending = true;
    // text/plain asks for no preflight
    fetch(url, { method: "POST", body: JSON.stringify(part), keepalive: true,
      headers: { "content-type": "text/plain" } }).then(function (answer) {
      if (answer.status >= 500 || answer.status === 429) throw new Error("later");
      done(part);
      wait = EVERY;
    }).catch(function () {
      wait = Math.min(LONGEST, wait * 2);
    }).then(function () {
      sending = false;
      if (queue().length) later(wait);
    });
  }
  function leave() {
    var part = queue().slice(0, BATCH);
    if (part.length && navigator.sendBeacon && navigator.sendBeacon(url, JSON.stringify(part))) {
      done(part);
    }
  }

  function shown(node) {
    var data = node.dataset, fields = { item_id: data.lifeloopItem };
    if (data.lifeloopRequest) fields.request_id = data.lifeloopRequest;
    if (data.lifeloopPosition) fields.position = +data.lifeloopPosition;
    return fields;
  }
  var watcher = w.IntersectionObserver && new IntersectionObserver(function (entries) {
    entries.forEach(function (entry) {
      if (!entry.isIntersecting) return;
      watcher.unobserve(entry.target);
      track("impression", shown(entry.target));
    });
  }, { threshold: 0.5 });
  function scan() {
    if (!watcher) return;
    d.querySelectorAll("[data-lifeloop-item]:not([data-lifeloop-seen])").forEach(function (node) {
      node.dataset.lifeloopSeen = "1";
      watcher.observe(node);
    });
  }
  d.addEventListener("click", function (e) {
    var node = e.target.closest && e.target.closest("[data-lifeloop-item]");
    if (node) track("click", shown(node));
  }, true);
  d.addEventListener("visibilitychange", function () {
    if (d.visibilityState === "hidden") leave();
  });
  w.addEventListener("pagehide", leave);

  w.lifeloop = { track: track, flush: flush, scan: scan,
    identify: function (userId) { user = userId; } };
  if (tag.dataset.pageView !== "off") {
    track("page_view", { context: { path: w.location.pathname } });
  }
  scan();
  if (w.MutationObserver) new MutationObserver(scan).observe(d.documentElement,
    { childList: true, subtree: true });
})(window, document);
