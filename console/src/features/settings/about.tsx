import { brand } from "@/shared/brand/brand";
import { useAuthState } from "@/shared/lib/auth-state";
import { useTexts } from "@/shared/lib/i18n";
import { useSession } from "@/shared/lib/session";
import { Card } from "@/shared/ui/card";
import { ErrorNote } from "@/shared/ui/error-note";
import { Facts } from "@/shared/ui/facts";
import { Skeleton } from "@/shared/ui/skeleton";

const DESCRIPTION = "/api/openapi.json";

/** Which version this is, and where programs find what it can do. */
export function About() {
  const t = useTexts("settings");
  const { me } = useSession();
  const { data, error, refetch } = useAuthState();
  if (data === undefined) return error ? <ErrorNote error={error} onRetry={() => void refetch()} /> : <Skeleton className="h-32 w-full" />;
  return (
    <Card title={brand.name}>
      <Facts
        facts={[
          [t("version"), data.version],
          [t("address"), location.origin],
          [t("organization"), me.organization_name ?? me.organization_id],
          [
            t("description"),
            <a key="description" href={DESCRIPTION} className="text-accent underline" target="_blank" rel="noreferrer">
              {DESCRIPTION}
            </a>,
          ],
        ]}
      />
    </Card>
  );
}
