// Every scenario of the AI SDK in one process, which costs its start once; what was seen is printed as JSON.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";

const { BASE_URL: baseURL, API_KEY: apiKey, RELEASE_URL: releaseURL } = process.env;

const compatible = (headers) => createOpenAICompatible({ name: "orchestrator", baseURL, apiKey, headers, includeUsage: true });
const responses = (headers) => createOpenAI({ name: "orchestrator", baseURL, apiKey, headers });

const ask = (words) => [{ role: "user", content: words }];

async function whole(model, messages, more = {}) {
  const { text, finishReason, usage, response } = await generateText({ model, messages, maxRetries: 0, ...more });
  return { text, finishReason, usage, messages: response.messages, id: response.id };
}

async function streamed(model, messages) {
  const pieces = [];
  const errors = [];
  const result = streamText({ model, messages, maxRetries: 0, onError: ({ error }) => errors.push(String(error)) });
  for await (const part of result.fullStream) {
    if (part.type !== "text-delta" || !part.text) continue;
    // A model that has fallen silent goes on once somebody has read what it said.
    if (pieces.push(part.text) === 1) await fetch(releaseURL, { method: "POST" });
  }
  if (errors.length) return { pieces, errors };
  return { pieces, errors, finishReason: await result.finishReason, usage: await result.usage };
}

async function twoTurns(model, options = {}) {
  const first = await whole(model, ask("Hello"), options);
  const second = await whole(model, [...ask("Hello"), ...first.messages, ...ask("And now?")], options);
  return [first.text, second.text];
}

async function withTool(model) {
  const weather = tool({
    description: "The weather at a place",
    inputSchema: jsonSchema({ type: "object", properties: { place: { type: "string" } }, required: ["place"] }),
    execute: async ({ place }) => `It pours in ${place}.`,
  });
  const { text, steps } = await generateText({
    model, messages: ask("Is it raining in Rome?"), tools: { weather }, stopWhen: stepCountIs(3), maxRetries: 0,
  });
  return { text, calls: steps.flatMap((step) => step.toolCalls.map((call) => [call.toolName, call.input])) };
}

async function failing(asking) {
  try {
    await asking();
    return null;
  } catch (error) {
    return { name: error.name, status: error.statusCode, retryable: error.isRetryable, message: error.message };
  }
}

async function tryAll(provider, label) {
  const conversation = { "X-Conversation-Id": `ai-sdk-${label}`, "X-OpenWebUI-User-Id": `ai-sdk-${label}` };
  const cherry = provider()("cherry");
  const [text, stream, fallback, unknown, turns, remembered, unstored] = await Promise.all([
    whole(provider()("sophia"), ask("Hello")),
    streamed(provider()("cherry@standin/silent-for-a-while"), ask("Hello")),
    streamed(provider()("stumbling"), ask("Hello")),
    failing(() => generateText({ model: provider()("nobody"), messages: ask("Hello") })),
    twoTurns(cherry),
    twoTurns(provider(conversation)("cherry")),
    // Asks that nothing be stored, and so sends the words again instead of references to them.
    twoTurns(cherry, { providerOptions: { openai: { store: false } } }),
  ]);
  // By itself: it breaks as soon as anybody has read something.
  const broken = await streamed(provider()("breaking"), ask("Hello"));
  return { text, stream, fallback, broken, unknown, turns, remembered, unstored };
}

const seen = { compatible: await tryAll(compatible, "compatible"), responses: await tryAll(responses, "responses") };
// One after the other: each finds the model's scripted call for a tool.
seen.compatible.tool = await withTool(compatible()("cherry@standin/tools"));
seen.responses.tool = await withTool(responses()("cherry@standin/tools"));
console.log(JSON.stringify(seen));
