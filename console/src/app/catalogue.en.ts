import common from "@/shared/texts/en.json";

import { byFeature } from "./catalogue";
import shell from "./texts/en.json";

const features = import.meta.glob<object>("../features/*/en.json", { eager: true, import: "default" });

export default { common, shell, ...byFeature(features) };
