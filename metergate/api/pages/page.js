// Sends the requests of the page. The secret stays in its field: nothing is stored.
"use strict";

document.documentElement.classList.add("script");
const base = location.pathname.slice(0, -document.body.dataset.place.length);

function request(form) {
  let path = form.dataset.path;
  const query = new URLSearchParams();
  const sent = { method: form.dataset.method, headers: {}, cache: "no-store", credentials: "omit" };
  const secret = document.getElementById("secret").value.trim();
  if (secret) sent.headers.authorization = `Bearer ${secret}`;
  for (const field of form.querySelectorAll("[data-in]")) {
    const { value, name, dataset } = field;
    if (dataset.in === "path") path = path.replace(`{${name}}`, encodeURIComponent(value));
    else if (!value) continue;
    else if (dataset.in === "query") query.set(name, value);
    else if (dataset.in === "header") sent.headers[name] = value;
    else {
      sent.body = value;
      sent.headers["content-type"] = "application/json";
    }
  }
  const asked = query.toString();
  return [base + path + (asked ? `?${asked}` : ""), sent];
}

async function answer(form) {
  const response = await fetch(...request(form));
  const text = await response.text();
  const json = (response.headers.get("content-type") || "").includes("json");
  return `${response.status}\n${json ? JSON.stringify(JSON.parse(text), null, 2) : text}`;
}

for (const form of document.forms) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const shown = form.querySelector("pre");
    shown.textContent = "…";
    shown.textContent = await answer(form).catch(String);
  });
}
