// Key columns stay in view beside each other: each stands where the ones before it end.
function place(region) {
  const heads = [...region.querySelectorAll("thead .sticky")];
  const lefts = [];
  let left = 0;
  for (const head of heads) {
    lefts.push(left);
    left += head.offsetWidth;
  }
  const fits = left < region.clientWidth * 0.6; // never let the key push what changes out of view
  for (const row of region.querySelectorAll("tr")) {
    row.querySelectorAll(".sticky").forEach((cell, index) => {
      const stays = fits || index === 0;
      cell.style.position = stays ? "" : "static";
      cell.style.left = stays ? `${lefts[index]}px` : "";
      cell.classList.toggle("sticky-edge", fits ? index === heads.length - 1 : index === 0);
    });
  }
}

const regions = [...document.querySelectorAll("[data-sticky-keys]")];
const placeAll = () => regions.forEach(place);
placeAll();
window.addEventListener("resize", placeAll);
document.fonts?.ready.then(placeAll);
