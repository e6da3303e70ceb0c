import logo from "./logo.svg";

/** Name and sign of the product, as people see them; colours and type are in tokens.css. */
export const brand = { name: "Polyforge", logo } as const;
