"use strict";
const PAGE = 200;
const { picks, clusters } = JSON.parse(document.getElementById("data").textContent);
const grid = document.getElementById("grid");
const pages = document.getElementById("pages");
const form = document.getElementById("filters");
const dialog = document.getElementById("one");
let shown = picks;
let page = 0;
let open = 0;

function element(name, properties = {}, children = []) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function picture(pick) {
  if (!pick.picture) return element("span", { className: "none", textContent: "no picture" });
  return element("img", { src: pick.picture, alt: pick.label || `pick ${pick.order + 1}`, loading: "lazy" });
}

function filter() {
  const wanted = new FormData(form);
  shown = picks.filter((pick) =>
    [...wanted].every(([name, value]) => value === "" || (name === "alike" ? pick.alike.length : String(pick[name]) === value)));
  page = 0;
  draw();
}

function draw() {
  document.getElementById("count").textContent = `${shown.length} of ${picks.length}`;
  const from = page * PAGE;
  grid.replaceChildren(...shown.slice(from, from + PAGE).map((pick, place) => {
    const button = element("button", { type: "button", title: pick.reason }, [
      picture(pick), element("small", { textContent: `${pick.order + 1} · ${pick.label || pick.domain || "cluster " + pick.cluster}` })]);
    button.addEventListener("click", () => show(from + place));
    return element("li", {}, [button]);
  }));
  const many = Math.ceil(shown.length / PAGE);
  pages.replaceChildren(...Array.from({ length: many > 1 ? many : 0 }, (_, number) => {
    const button = element("button", { type: "button", textContent: number + 1 });
    if (number === page) button.setAttribute("aria-current", "page");
    button.addEventListener("click", () => { page = number; draw(); scrollTo(0, 0); });
    return button;
  }));
}

function rounded(value) { return value === null ? "–" : String(Math.round(value * 100) / 100); }

function show(place) {
  if (place < 0 || place >= shown.length) return;
  open = place;
  const pick = shown[place];
  const facts = [["pick", `${pick.order + 1} of ${picks.length}`], ["why", pick.reason], ["cluster", `${pick.cluster}, ${pick.quota} chosen of it`],
    ["score", rounded(pick.score)], ["label", pick.label], ["domain", pick.domain], ["source", pick.source], ["licence", pick.licence], ["id", pick.sample_id]];
  dialog.querySelector("figure").replaceChildren(picture(pick), element("figcaption", {}, facts.filter(([, value]) => value && value !== "–")
    .flatMap(([name, value]) => [element("span", { textContent: name }), element("b", { textContent: value })])));
  document.getElementById("alike").replaceChildren(...pick.alike.map((twin) => element("figure", {}, [
    picture({ ...twin, label: "left out: looks the same" }), element("figcaption", { textContent: "left out: looks the same" })])));
  document.getElementById("before").disabled = place === 0;
  document.getElementById("after").disabled = place === shown.length - 1;
  if (!dialog.open) dialog.showModal();
}

function drawClusters(column = "score", falling = true) {
  const order = [...clusters].sort((a, b) => (falling ? -1 : 1) * ((a[column] ?? -Infinity) - (b[column] ?? -Infinity)) || a.cluster - b.cluster);
  document.querySelector("#clusters tbody").replaceChildren(...order.map((row) => element("tr", {}, [
    row.cluster, row.size.toLocaleString("en"), rounded(row.noisy_score), rounded(row.score), row.picked].map((value) => element("td", { textContent: value })))));
  for (const button of document.querySelectorAll("#clusters th button")) {
    const here = button.dataset.sort === column;
    button.parentElement.setAttribute("aria-sort", here ? (falling ? "descending" : "ascending") : "none");
    button.onclick = () => drawClusters(button.dataset.sort, here ? !falling : true);
  }
}

form.addEventListener("change", filter);
form.addEventListener("reset", () => setTimeout(filter));
document.getElementById("before").addEventListener("click", () => show(open - 1));
document.getElementById("after").addEventListener("click", () => show(open + 1));
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
document.addEventListener("keydown", (event) => {
  if (!dialog.open) return;
  if (event.key === "ArrowLeft") show(open - 1);
  if (event.key === "ArrowRight") show(open + 1);
});
draw();
drawClusters();
