import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";
import { answer } from "./mockApi.ts";

/** Answer the requests of the page with generated data. */
function mockApi(): Plugin {
  return {
    name: "mock-api",
    configureServer(server) {
      server.middlewares.use((request, response, next) => {
        const url = new URL(request.url ?? "/", "http://localhost");
        const result = answer(request.method ?? "GET", url);
        if (!result) {
          next();
          return;
        }
        const delay = Number(process.env.DELAY ?? 0);
        setTimeout(() => {
          response.writeHead(result.status, { "Content-Type": result.type, "Cache-Control": "private, no-cache" });
          response.end(result.body);
        }, delay);
      });
    },
  };
}

export default defineConfig({
  root: fileURLToPath(new URL(".", import.meta.url)),
  cacheDir: fileURLToPath(new URL("../node_modules/.vite-dev", import.meta.url)),
  plugins: [mockApi()],
  server: { host: "127.0.0.1", port: 5173 },
});
