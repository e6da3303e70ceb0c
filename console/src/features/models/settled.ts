import { useEffect, useState } from "react";

const MOMENT_MS = 300;

/** A value once it has stayed the same for a moment, so that the server is not asked at every key that is pressed. */
export function useSettled<Value>(value: Value): Value {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), MOMENT_MS);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}
