import { Eye, EyeOff } from "lucide-react";
import { type InputHTMLAttributes, useState } from "react";

import { useTexts } from "@/shared/lib/i18n";

import { IconButton } from "./button";
import { Input } from "./input";

/** A secret that one types, which can be looked at. */
export function PasswordInput(props: Omit<InputHTMLAttributes<HTMLInputElement>, "type">) {
  const t = useTexts("common");
  const [shown, setShown] = useState(false);
  const label = shown ? t("hidePassword") : t("showPassword");
  return (
    <div className="relative">
      <Input {...props} type={shown ? "text" : "password"} spellCheck={false} autoCapitalize="off" className="pr-10" />
      <IconButton label={label} aria-pressed={shown} className="absolute top-0.5 right-0.5" onClick={() => setShown(!shown)}>
        {shown ? <EyeOff size={15} aria-hidden /> : <Eye size={15} aria-hidden />}
      </IconButton>
    </div>
  );
}
