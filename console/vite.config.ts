import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

// The host stays what the browser calls it: changes from another origin are refused.
const gateway = { target: process.env.POLYFORGE_URL ?? "http://127.0.0.1:8080", changeOrigin: false };

export default defineConfig({
  plugins: [react(), tailwindcss()],
  resolve: { alias: { "@": fileURLToPath(new URL("./src", import.meta.url)) } },
  build: {
    target: "es2022",
    // Nothing is written into the page itself: the gateway's content policy allows files of its own only.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 400,
    reportCompressedSize: false,
  },
  server: { proxy: { "/api": gateway, "/v1": gateway, "/livez": gateway } },
  // Tests of components ask for a page themselves: `@vitest-environment jsdom` in their first line.
  test: { environment: "node", globals: true, include: ["src/**/*.test.{ts,tsx}"] },
});
