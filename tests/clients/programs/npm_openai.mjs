// The npm `openai` package as a client: `npm_openai.mjs BASE_URL TIMEOUT_S`, run in the folder that has it.
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const require = createRequire(join(process.cwd(), "package.json"));
const { default: OpenAI } = await import(pathToFileURL(require.resolve("openai")).href);
const [baseURL, timeout] = [process.argv[2], Number(process.argv[3]) * 1000];
const sdk = new OpenAI({ baseURL, apiKey: "any", timeout, maxRetries: 0 });
const found = {};
const messages = (content) => [{ role: "user", content }];
const chat = (content, more = {}, options = {}) =>
  sdk.chat.completions.create({ model: "tiny", messages: messages(content), ...more }, options);

async function streamed(content) {
  let text = "";
  for await (const part of await chat(content, { stream: true })) {
    text += part.choices[0]?.delta?.content ?? "";
  }
  return text;
}

// The first one meets the cold load.
found.stream = await streamed("hello");
found.whole = (await chat("hello")).choices[0].message.content;
const spaces = { headers: { "x-lmg-keepalive": "whitespace" } };
found.spaces = (await chat("hello", {}, spaces)).choices[0].message.content;
const parameters = { type: "object", properties: {} };
const tools = [{ type: "function", function: { name: "get_weather", parameters } }];
const call = (await chat("[[tool]] weather", { tools })).choices[0].message.tool_calls[0];
found.tool = [call.function.name, call.function.arguments];
const vectors = await sdk.embeddings.create({ model: "tiny", input: ["a"], encoding_format: "float" });
found.embedding = vectors.data[0].embedding;
found.responses = (await sdk.responses.create({ model: "tiny", input: "hello" })).output_text;
const stream = sdk.responses.stream({ model: "tiny", input: "hello" });
found["responses-stream"] = (await stream.finalResponse()).output_text;
for (const [name, ask] of [["cut", chat], ["cut-stream", streamed]]) {
  try {
    await ask("[[cut]] x");
  } catch (error) {
    found[name] = error.constructor.name;
  }
}
console.log("FOUND" + JSON.stringify(found));
