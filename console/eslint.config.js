import hooks from "eslint-plugin-react-hooks";
import { readdirSync } from "node:fs";
import ts from "typescript-eslint";

const features = readdirSync(new URL("./src/features", import.meta.url));

/** Which layers a folder may not see: app > features > shared > client. */
function closed(...layers) {
  return ["error", { patterns: layers.map((layer) => ({ group: [`@/${layer}`, `@/${layer}/**`], message: "Imports go one way: app > features > shared > client." })) }];
}

export default ts.config(
  { ignores: ["dist", "node_modules", "src/client/schema.d.ts"] },
  ...ts.configs.strict,
  { plugins: { "react-hooks": hooks }, rules: { ...hooks.configs.recommended.rules, "react-hooks/incompatible-library": "off" } },
  {
    rules: {
      "no-restricted-globals": ["error", { name: "fetch", message: "Calls go through @/client/http." }],
      "no-restricted-syntax": [
        "error",
        { selector: "JSXAttribute[name.name='dangerouslySetInnerHTML']", message: "Text is text: answers of models are never HTML." },
      ],
      "@typescript-eslint/no-non-null-assertion": "error",
    },
  },
  { files: ["src/client/**"], rules: { "no-restricted-imports": closed("app", "features", "shared"), "no-restricted-globals": "off" } },
  { files: ["src/shared/**"], rules: { "no-restricted-imports": closed("app", "features") } },
  ...features.map((feature) => ({
    files: [`src/features/${feature}/**`],
    rules: { "no-restricted-imports": closed("app", ...features.filter((other) => other !== feature).map((other) => `features/${other}`)) },
  })),
);
