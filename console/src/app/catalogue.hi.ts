import common from "@/shared/texts/hi.json";

import { byFeature } from "./catalogue";
import shell from "./texts/hi.json";

const features = import.meta.glob<object>("../features/*/hi.json", { eager: true, import: "default" });

export default { common, shell, ...byFeature(features) };
