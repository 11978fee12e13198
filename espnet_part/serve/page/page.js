const RATE = 16000;
const at = (id) => document.getElementById(id);
const names = new Intl.DisplayNames(["en"], { type: "language" });
const name = (code) => names.of(code) ?? code;
const DETECT = ""; // in place of a language's code, for the server to detect it

let work = null; // what is at work: stop() ends it
let heard = null; // the address of the audio in this page
let spoken = ""; // the language that was detected
let documents = {}; // what can be downloaded, by form
let end = 0; // seconds at which the segment that is heard ends

// --- what the page says

function tell(text) {
  at("status").textContent = text;
}

function complain(text) {
  at("problem").textContent = text;
  at("problem").hidden = !text;
}

function clock(seconds) {
  const whole = Math.floor(seconds);
  const two = (value) => String(value).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  return `${hours ? `${hours}:` : ""}${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

function addSegment({ start, end, text }) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  const time = document.createElement("time");
  const words = document.createElement("span");
  button.type = "button";
  time.textContent = clock(start);
  words.textContent = text || "…";
  words.lang = at("target").value || spoken || at("language").value;
  words.dir = "auto";
  button.append(time, words);
  button.addEventListener("click", () => hear(item, start, end));
  item.append(button);
  at("segments").append(item);
}

function tellSpoken({ language, language_probability: certainty }) {
  if (at("language").value !== DETECT || !language) return;
  spoken = language;
  const sure = certainty === undefined ? "" : `, ${Math.round(100 * certainty)} % certain`;
  at("spoken").textContent = `Detected: ${name(language)}${sure}`;
}

function begin(what) {
  spoken = at("spoken").textContent = "";
  at("segments").replaceChildren();
  at("partial").textContent = "";
  at("downloads").hidden = true;
  complain("");
  tell(what);
  setBusy(true);
}

function finish({ text, srt, vtt, duration }) {
  documents = { txt: `${text}\n`, srt, vtt };
  at("downloads").hidden = false;
  at("partial").textContent = "";
  const found = at("spoken").textContent;
  tell(text ? `Done: ${clock(duration)} of audio.${found && ` ${found}.`}` : "Done: nothing was said.");
}

function setBusy(busy) {
  at("stop").disabled = !busy;
  for (const id of ["file", "record", "language", "target"]) at(id).disabled = busy;
  if (!busy) work = null;
}

// --- hearing

const player = at("player");

function keep(blob) {
  if (heard) URL.revokeObjectURL(heard);
  heard = URL.createObjectURL(blob);
  player.src = heard;
}

function hear(item, start, until) {
  const playing = item.classList.contains("playing");
  quiet();
  if (playing) return;
  if (!player.src) return tell("The recording can be heard when it has ended.");
  item.classList.add("playing");
  end = until;
  player.currentTime = start;
  player.play().catch(() => complain("This browser cannot play this format."));
}

function quiet() {
  player.pause();
  document.querySelector("#segments .playing")?.classList.remove("playing");
}

player.addEventListener("timeupdate", () => {
  if (player.currentTime >= end) quiet();
});

// --- the server

function headers() {
  const key = at("key").value.trim();
  return key ? { Authorization: `Bearer ${key}` } : {};
}

async function problem(answer) {
  const said = await answer.json().catch(() => null);
  if (answer.status === 401) at("key-field").hidden = false;
  return said?.error?.message ?? `the server says ${answer.status}`;
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    waiting += value;
    const blocks = waiting.split("\n\n");
    waiting = blocks.pop();
    for (const block of blocks) {
      const [, kind, data] = block.match(/^event: (.*)\ndata: (.*)$/s);
      yield { ...JSON.parse(data), type: kind };
    }
  }
}

async function sendFile(file) {
  const cancel = new AbortController();
  work = { stop: () => cancel.abort() };
  begin(`Reading ${file.name} …`);
  player.removeAttribute("src");
  keep(file);
  const form = new FormData();
  const translate = at("target").value && at("target").value !== at("language").value;
  form.append("language", at("language").value);
  if (translate) form.append("to_language", at("target").value);
  form.append("response_format", "verbose_json");
  form.append("stream", "true");
  form.append("file", file);
  try {
    const path = `v1/audio/${translate ? "translations" : "transcriptions"}`;
    const options = { method: "POST", body: form, headers: headers(), signal: cancel.signal };
    const answer = await fetch(path, options);
    if (!answer.ok) throw new Error(await problem(answer));
    let last = null;
    for await (const event of events(answer.body)) {
      if (event.type === "error") throw new Error(event.error.message);
      tellSpoken(event);
      if (event.segment) {
        addSegment(event.segment);
        tell(`At ${clock(event.segment.end)} …`);
      }
      last = event;
    }
    if (last?.type !== "transcript.text.done") throw new Error("the server has gone");
    finish(last);
  } catch (error) {
    if (error.name === "AbortError") tell("Stopped.");
    else {
      tell("");
      complain(error.message);
    }
  } finally {
    setBusy(false);
  }
}

async function useMicrophone() {
  begin("Asking for the microphone …");
  let microphone;
  try {
    if (!navigator.mediaDevices) throw new Error("browsers give it to https:// and localhost only");
    microphone = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
  } catch (error) {
    tell("");
    complain(`No microphone: ${error.message}`);
    return setBusy(false);
  }
  const context = new AudioContext({ sampleRate: RATE });
  const address = new URL("v1/audio/stream", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const socket = new WebSocket(address);
  const pieces = [];
  let ended = false;
  const close = (message) => {
    if (ended) return;
    ended = true;
    for (const track of microphone.getTracks()) track.stop();
    context.close();
    if (pieces.length) keep(wav(pieces));
    if (message) {
      tell("");
      complain(message);
    }
    socket.close();
    setBusy(false);
  };
  work = {
    stop: () => {
      for (const track of microphone.getTracks()) track.stop();
      at("stop").disabled = true;
      tell("Finishing …");
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: "stop" }));
      else close("");
    },
  };
  socket.onopen = () => {
    const start = { type: "start", language: at("language").value };
    if (at("target").value) start.to_language = at("target").value;
    if (at("key").value.trim()) start.api_key = at("key").value.trim();
    socket.send(JSON.stringify(start));
  };
  socket.onclose = () => close("the server has gone");
  socket.onmessage = async ({ data }) => {
    const message = JSON.parse(data);
    tellSpoken(message);
    if (message.type === "ready") {
      await context.audioWorklet.addModule("recorder.js");
      const recorder = new AudioWorkletNode(context, "recorder");
      recorder.port.onmessage = ({ data }) => {
        if (ended || socket.readyState !== WebSocket.OPEN || at("stop").disabled) return;
        pieces.push(new Int16Array(data.slice(0)));
        socket.send(data);
      };
      context.createMediaStreamSource(microphone).connect(recorder);
      player.removeAttribute("src");
      tell("Listening. What is said stays in the list after half a minute.");
    } else if (message.type === "partial") {
      at("partial").textContent = message.text;
    } else if (message.type === "final") {
      addSegment(message);
      at("partial").textContent = "";
    } else if (message.type === "done") {
      finish(message);
      close("");
    } else if (message.type === "error") {
      if (message.error.code === "invalid_api_key") at("key-field").hidden = false;
      close(message.error.message);
    }
  };
}

function wav(pieces) {
  const bytes = pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
  const head = new DataView(new ArrayBuffer(44));
  const word = (offset, text) => [...text].forEach((c, n) => head.setUint8(offset + n, c.charCodeAt(0)));
  word(0, "RIFF");
  head.setUint32(4, 36 + bytes, true);
  word(8, "WAVEfmt ");
  head.setUint32(16, 16, true);
  head.setUint16(20, 1, true);
  head.setUint16(22, 1, true);
  head.setUint32(24, RATE, true);
  head.setUint32(28, 2 * RATE, true);
  head.setUint16(32, 2, true);
  head.setUint16(34, 16, true);
  word(36, "data");
  head.setUint32(40, bytes, true);
  return new Blob([head, ...pieces], { type: "audio/wav" });
}

// --- choices

function options(select, codes, open) {
  const before = select.value;
  const label = (code) => (code === DETECT ? open : name(code));
  select.replaceChildren(...codes.map((code) => new Option(label(code), code)));
  if (codes.includes(before)) select.value = before;
}

function offer(model) {
  at("model").textContent = model.id;
  document.title = `Speech to text: ${model.id}`;
  const { asr, s2tt } = model.languages ?? { asr: [], s2tt: [] };
  const pairs = [...asr, ...s2tt];
  if (!pairs.length) {
    // the weights do not say what they know
    for (const id of ["language", "target"]) {
      const field = document.createElement("input");
      field.id = id;
      field.placeholder = "code, such as de";
      at(id).replaceWith(field);
    }
    return;
  }
  const sorted = (codes) => [...new Set(codes)].sort((a, b) => name(a).localeCompare(name(b)));
  const targets = () => {
    const lang = at("language").value;
    const from = lang === DETECT ? s2tt : pairs.filter(([one]) => one === lang);
    const known = sorted(from.map(([, tgt]) => tgt));
    const same = lang === DETECT || known.includes(lang);
    const others = known.filter((code) => code !== lang);
    options(at("target"), same ? [lang, ...others] : known, "The language spoken");
  };
  const langs = sorted(pairs.map(([lang]) => lang));
  // the server tells those apart that the model transcribes
  options(at("language"), asr.length > 1 ? [DETECT, ...langs] : langs, "Detect");
  at("language").addEventListener("change", () => {
    at("target").value = "";
    targets();
  });
  targets();
}

async function askModel() {
  for (;;) {
    // first whether it is loaded: before that, it does not know its languages
    const loaded = (await fetch("health").catch(() => null))?.ok;
    const answer = await fetch("v1/models", { headers: headers() }).catch(() => null);
    if (loaded && answer?.ok) {
      complain("");
      tell("");
      return offer((await answer.json()).data[0]);
    }
    if (answer?.status === 401) {
      complain(await problem(answer));
      await new Promise((done) => at("key").addEventListener("change", done, { once: true }));
    } else {
      tell("The model is being loaded …");
      await new Promise((done) => setTimeout(done, 1000));
    }
  }
}

// --- events of the page

at("form").addEventListener("submit", (event) => event.preventDefault());
at("file").addEventListener("change", () => {
  if (at("file").files[0]) sendFile(at("file").files[0]);
  at("file").value = "";
});
at("record").addEventListener("click", useMicrophone);
at("stop").addEventListener("click", () => work?.stop());
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragover");
    const file = kind === "drop" && event.dataTransfer?.files[0];
    if (file && !work) sendFile(file);
  });
}
for (const button of document.querySelectorAll("[data-form]")) {
  button.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([documents[button.dataset.form]], { type: "text/plain" }));
    link.download = `transcript.${button.dataset.form}`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
}

await askModel();
document.documentElement.dataset.ready = "true";
