import { useTexts } from "@/shared/lib/i18n";

import { Button } from "./button";
import { Dialog } from "./dialog";

interface Props {
  open: boolean;
  onStay: () => void;
  onLeave: () => void;
}

/** Asks before what was typed is lost. */
export function LeaveQuestion({ open, onStay, onLeave }: Props) {
  const t = useTexts("common");
  return (
    <Dialog
      open={open}
      onClose={onStay}
      title={t("leave.title")}
      footer={
        <>
          <Button onClick={onStay}>{t("leave.stay")}</Button>
          <Button kind="danger" onClick={onLeave}>
            {t("leave.go")}
          </Button>
        </>
      }
    >
      {t("leave.hint")}
    </Dialog>
  );
}
