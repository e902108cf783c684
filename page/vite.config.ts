import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";
import { GLOBAL_NAME } from "./src/globalName.ts";

/** Copy the two files of Swagger UI that the API documentation needs. */
function swaggerUi(): Plugin {
  const require = createRequire(import.meta.url);
  return {
    name: "swagger-ui",
    generateBundle() {
      for (const fileName of ["swagger-ui-bundle.js", "swagger-ui.css"]) {
        const source = readFileSync(require.resolve(`swagger-ui-dist/${fileName}`));
        this.emitFile({ type: "asset", fileName, source });
      }
    },
  };
}

export default defineConfig({
  // Libraries test this variable. The browser has no `process`.
  define: { "process.env.NODE_ENV": JSON.stringify("production") },
  plugins: [swaggerUi()],
  build: {
    outDir: fileURLToPath(new URL("../include/ohlcv/web/static", import.meta.url)),
    emptyOutDir: true,
    // The browsers that Airflow's own pages support have these features.
    target: "es2022",
    chunkSizeWarningLimit: 1000,
    license: { fileName: "licenses.md" },
    lib: { entry: "src/main.tsx", formats: ["umd"], name: GLOBAL_NAME },
    rolldownOptions: {
      external: ["react", "react-dom", "react/jsx-runtime", "react-router-dom"],
      output: {
        entryFileNames: "candles-[hash].js",
        // Airflow's page sets these globals before it loads a plugin.
        globals: {
          react: "React",
          "react-dom": "ReactDOM",
          "react/jsx-runtime": "ReactJSXRuntime",
          "react-router-dom": "ReactRouterDOM",
        },
      },
    },
  },
});
