// the large picture and the heat map over it
const canvas = document.getElementById("picture");
const LARGEST = 720;

let shown = null; // {image, width, height}
let heat = null; // values of a map, by line
let placement = "squash";

export function setPlacement(resize) {
  placement = resize;
}

export function showPicture(source, width, height) {
  heat = null;
  shown = null;
  const image = new Image();
  return new Promise((done) => {
    image.onload = () => {
      const scale = LARGEST / Math.max(width, height);
      canvas.width = Math.max(1, Math.round(width * scale));
      canvas.height = Math.max(1, Math.round(height * scale));
      shown = { image };
      draw();
      done(true);
    };
    image.onerror = () => done(false);
    image.src = source;
  });
}

export function showHeat(values) {
  heat = values;
  draw();
}

// the part of the canvas that the model has seen
function area() {
  const { width, height } = canvas;
  const side = placement === "crop" ? Math.min(width, height) : Math.max(width, height);
  if (placement === "squash") return [0, 0, width, height];
  return [(width - side) / 2, (height - side) / 2, side, side];
}

function draw() {
  if (!shown) return;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(shown.image, 0, 0, canvas.width, canvas.height);
  if (!heat) return;
  const small = document.createElement("canvas");
  small.height = heat.length;
  small.width = heat[0].length;
  const pixels = small.getContext("2d").createImageData(small.width, small.height);
  const most = Math.max(1e-9, ...heat.flat().map(Math.abs));
  heat.flat().forEach((value, i) => {
    // red speaks for the attribute, blue against it
    pixels.data.set(value > 0 ? [230, 40, 20] : [20, 80, 230], 4 * i);
    pixels.data[4 * i + 3] = Math.round((150 * Math.abs(value)) / most);
  });
  small.getContext("2d").putImageData(pixels, 0, 0);
  context.imageSmoothingQuality = "high";
  context.drawImage(small, ...area());
}
