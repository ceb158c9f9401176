// The page of `allaprima live --page`: the stream, a line of figures, and the same keys as the window.
const token = new URLSearchParams(location.search).get("token") || "";
const where = (path, more = {}) => path + "?" + new URLSearchParams({ ...(token && { token }), ...more });
const picture = document.getElementById("picture");
const line = document.getElementById("status");

// Not before: the stream never ends, and until then the page would count as loading.
const show = () => { picture.src = where("stream", { ahead: 1, at: Date.now() }); };
addEventListener("load", show);
picture.onerror = () => setTimeout(show, 1000);

function press(key) {
  fetch(where("key"), {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Allaprima": "page" },
    body: JSON.stringify({ key }),
  });
}

async function look() {
  try {
    const answer = await fetch(where("status"));
    const { line: text, keys } = await answer.json();
    line.textContent = text;
    const nav = document.getElementById("keys");
    if (!nav.children.length) {
      for (const [key, help] of Object.entries(keys)) {
        const button = document.createElement("button");
        const name = document.createElement("kbd");
        name.textContent = key === " " ? "space" : key;
        button.append(help, name);
        button.onclick = (event) => {
          press(key);
          if (event.detail) button.blur();  // by mouse: space is to pause, not to press it again
        };
        nav.append(button);
      }
      addEventListener("keydown", (event) => {
        const presses = event.key === " " && event.target instanceof HTMLButtonElement;
        if (event.key in keys && !presses && !event.ctrlKey && !event.metaKey && !event.altKey) {
          event.preventDefault();
          press(event.key);
        }
      });
    }
  } catch {
    line.textContent = "the painter has gone";
  }
}
look();
setInterval(look, 1000);
