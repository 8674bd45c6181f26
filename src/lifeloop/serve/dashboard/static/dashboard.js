// Our own script: draws charts with Vega when they come into view, switches the theme, follows a training.
"use strict";
(() => {
  const script = document.currentScript;
  const root = document.documentElement;
  const dark = () => root.dataset.theme === "dark" ||
    (root.dataset.theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);

  let loading;
  const vega = () => loading ||= new Promise((done, fail) => {
    const tag = document.createElement("script");
    tag.src = script.dataset.vega;
    tag.onload = () => done(window.vegaEmbed);
    tag.onerror = () => fail(new Error("vega"));
    document.head.append(tag);
  });

  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  const told = (_, event, __, value) => {
    tip.replaceChildren();
    tip.hidden = value === null || value === undefined || value === "";
    if (tip.hidden) return;
    const pairs = typeof value === "object" ? Object.entries(value) : [["", value]];
    for (const [name, text] of pairs) {
      const line = document.createElement("div");
      const label = document.createElement("b");
      label.textContent = name;
      line.append(label, String(text));
      tip.append(line);
    }
    tip.style.left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8) + "px";
    tip.style.top = Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8) + "px";
  };

  // A plot as wide as its card: every width of the given size becomes what there is room for.
  const fit = (part, from, to) => {
    if (part.width === from) part.width = to;
    const legend = part.encoding && part.encoding.color && part.encoding.color.legend;
    if (legend && legend.columns) legend.columns = Math.max(2, Math.floor(to / 96));
    for (const key of ["layer", "vconcat", "hconcat"]) (part[key] || []).forEach((p) => fit(p, from, to));
    if (part.spec) fit(part.spec, from, to);
  };

  // While the log is being read the service says so, and when to ask again.
  const patient = async (address) => {
    for (let asked = 1; ; asked += 1) {
      const answer = await fetch(address);
      if (answer.status !== 503 || asked === 5) return answer;
      await new Promise((on) => setTimeout(on, 1000 * Number(answer.headers.get("retry-after") || 2)));
    }
  };

  const draw = async (box) => {
    try {
      const joint = box.dataset.spec.includes("?") ? "&" : "?";
      const [embed, answer] = await Promise.all([
        vega(), patient(`${box.dataset.spec}${joint}theme=${dark() ? "dark" : "light"}`),
      ]);
      if (!answer.ok) throw new Error(String(answer.status));
      const spec = await answer.json();
      const { width, margin } = spec.usermeta || {};
      if (width) fit(spec, width, Math.max(box.clientWidth - margin, 240));
      delete spec.usermeta;
      const place = document.createElement("div");
      // ast: expressions are interpreted, so that no policy has to allow eval;
      // svg: a canvas would leave out the stripes of incomplete periods
      const made = await embed(place, spec, {
        mode: "vega-lite", actions: false, ast: true, renderer: "svg", defaultStyle: false, tooltip: told,
      });
      box.replaceChildren(place);
      box.dataset.drawn = "1";
      if (box.dataset.members) {
        box.dataset.click = "1";
        made.view.addEventListener("click", (_, item) => {
          const cell = item && item.datum && item.datum.cell;
          if (cell) location.href = box.dataset.members + cell;
        });
      }
    } catch (error) {
      const why = document.createElement("p");
      why.className = "loading";
      why.textContent = script.dataset.failed;
      box.replaceChildren(why);
      box.dataset.drawn = "failed";
      console.error(error);
    }
  };

  const charts = [...document.querySelectorAll(".chart[data-spec]")];
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { seen.unobserve(entry.target); draw(entry.target); }
  }, { rootMargin: "500px" });
  charts.forEach((box) => seen.observe(box));
  const again = () => charts.filter((box) => box.dataset.drawn).forEach(draw);
  let wait;
  let before = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === before) return;
    before = innerWidth;
    clearTimeout(wait);
    wait = setTimeout(again, 200);
  });

  document.querySelectorAll("[data-set-theme]").forEach((button) => button.addEventListener("click", () => {
    const name = button.dataset.setTheme;
    root.dataset.theme = name;
    document.cookie = `lifeloop_theme=${name}; path=/; max-age=31536000; samesite=lax`;
    document.querySelectorAll("[data-set-theme]").forEach((b) => b.setAttribute("aria-pressed", b === button));
    again();
  }));

  document.querySelectorAll("[data-confirm]").forEach((form) => form.addEventListener("submit", (event) => {
    if (!confirm(form.dataset.confirm)) event.preventDefault();
  }));

  const job = document.querySelector("[data-job]");
  if (job) {
    const source = new EventSource(job.dataset.job);
    const step = job.querySelector("[data-step]");
    const bar = job.querySelector("progress");
    source.addEventListener("progress", (event) => {
      const told = JSON.parse(event.data);
      step.textContent = told.step || told.state;
      if (told.total) { bar.max = told.total; bar.value = told.done; } else bar.removeAttribute("value");
      if (!["starting", "running"].includes(told.state)) {
        source.close();
        location.href = job.dataset.done;
      }
    });
  }
})();
