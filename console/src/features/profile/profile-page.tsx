import { useTexts } from "@/shared/lib/i18n";
import { useSession } from "@/shared/lib/session";
import { Page } from "@/shared/ui/page";

import { AboutYou } from "./about-you";
import { Appearance } from "./appearance";
import { NoPassword, Password } from "./password";
import { SecondFactor } from "./second-factor";
import { Sessions } from "./sessions";

export default function ProfilePage() {
  const t = useTexts("profile");
  const { me } = useSession();
  return (
    <Page title={t("title")} about={t("about")}>
      <div className="grid items-start gap-4 lg:grid-cols-2">
        <div className="flex min-w-0 flex-col gap-4">
          <AboutYou />
          <Appearance />
        </div>
        <div className="flex min-w-0 flex-col gap-4">
          {me.user?.has_password === false && !me.user.second_factor ? null : <SecondFactor />}
          {me.user?.has_password === false ? <NoPassword /> : <Password />}
        </div>
      </div>
      <Sessions />
    </Page>
  );
}
