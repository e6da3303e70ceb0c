import { useMutation } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { formatNumber } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { Button } from "@/shared/ui/button";
import { CodeBlock } from "@/shared/ui/code-block";
import { Dialog } from "@/shared/ui/dialog";
import { ErrorNote } from "@/shared/ui/error-note";
import { Field } from "@/shared/ui/field";
import { Input } from "@/shared/ui/input";
import { Meter } from "@/shared/ui/meter";
import { Notice } from "@/shared/ui/notice";

type Verdict = Schemas["VerdictView"];

/** Checks that the log is as it was written, a part at a time, and gives the proof to keep. */
export function Verify({ open, onClose }: { open: boolean; onClose: () => void }) {
  const t = useTexts("audit");
  const [proof, setProof] = useState("");
  const [sofar, setSofar] = useState<Verdict | null>(null);
  const running = useRef<AbortController | null>(null);
  const verify = useMutation({
    mutationFn: async () => {
      const mine = new AbortController();
      running.current = mine;
      setSofar(null);
      return verifyAll(proof.trim() || null, mine.signal, setSofar);
    },
  });

  useEffect(() => () => running.current?.abort(), []);

  function close() {
    running.current?.abort();
    verify.reset();
    setSofar(null);
    onClose();
  }

  const verdict = verify.data;
  return (
    <Dialog
      open={open}
      onClose={close}
      title={t("verify")}
      description={t("verifyHint")}
      footer={
        <Button kind="primary" busy={verify.isPending} onClick={() => verify.mutate()}>
          {t("verifyNow")}
        </Button>
      }
    >
      <div className="flex flex-col gap-4">
        <Field label={t("proof")} optional={t("common:optional")} hint={t("proofHint")}>
          {(ids) => <Input {...ids} spellCheck={false} className="font-mono text-[12.5px]" value={proof} onChange={(event) => setProof(event.target.value)} />}
        </Field>
        {verify.isPending && sofar ? <Meter used={sofar.sequence} of={Math.max(sofar.newest, 1)} label={t("verifying")} /> : null}
        {verify.error ? <ErrorNote error={verify.error} /> : null}
        {verdict ? <Result verdict={verdict} /> : null}
      </div>
    </Dialog>
  );
}

function Result({ verdict }: { verdict: Verdict }) {
  const t = useTexts("audit");
  if (verdict.fault) {
    return (
      <div role="alert" className="bg-danger-soft rounded-box flex flex-col gap-1 px-3.5 py-3">
        <p className="font-semibold">{t(`fault.${verdict.fault.reason}`, { number: formatNumber(verdict.fault.sequence) })}</p>
        <p>{verdict.fault.message}</p>
        <p className="text-muted text-[13px]">{t("faultHint")}</p>
      </div>
    );
  }
  return (
    <>
      <Notice tone="ok">
        <p className="font-medium">{t("whole")}</p>
        <p>{t("checked", { count: verdict.checked, number: formatNumber(verdict.newest) })}</p>
      </Notice>
      <div className="flex flex-col gap-1.5">
        <p className="font-medium">{t("keepProof")}</p>
        <p className="text-muted text-[13px]">{t("keepProofHint")}</p>
        <CodeBlock code={verdict.cursor} />
      </div>
    </>
  );
}

/** Go on until all is checked, something is wrong, or nobody waits any more; `checked` counts all parts. */
async function verifyAll(from: string | null, signal: AbortSignal, tell: (verdict: Verdict) => void): Promise<Verdict> {
  let cursor = from;
  let checked = 0;
  for (;;) {
    const part = await call(api.POST("/api/v1/audit/verify", { body: { ...(cursor === null ? {} : { cursor }) } as Schemas["Verification"], signal }));
    checked += part.checked;
    const verdict = { ...part, checked };
    // A part that got no further would go round for ever.
    if (part.complete || part.fault !== null || part.cursor === cursor) return verdict;
    tell(verdict);
    cursor = part.cursor;
  }
}
