import { useQuery } from "@tanstack/react-query";

import { api, call } from "@/client/http";

export const AUTH_STATE = ["auth-state"] as const;

/** What anybody may know of this installation: whether somebody has an account, how to sign in, rules for passwords. */
export function useAuthState() {
  return useQuery({ queryKey: AUTH_STATE, queryFn: () => call(api.GET("/api/v1/auth/state")) });
}
