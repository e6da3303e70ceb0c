import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { api, call } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { Field } from "@/shared/ui/field";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Input, Select } from "@/shared/ui/input";
import { toast } from "@/shared/ui/toast";

import { EACH, formatAmount, type Limit, LIMITS } from "./limits";

export type Act = "topUp" | "transfer" | "reset" | "remove";

/** What is asked to be done to a limit, and to whose counter of it. */
export interface Asked {
  act: Act;
  limit: Limit;
  subject?: { id: string; name: string };
}

interface Props {
  asked: Asked | null;
  all: readonly Limit[];
  onClose: () => void;
}

/** Asks once more, does it, and says what became of it. */
export function LimitAction({ asked, all, onClose }: Props) {
  return asked === null ? null : <Action key={`${asked.act}/${asked.limit.id}/${asked.subject?.id ?? ""}`} asked={asked} all={all} onClose={onClose} />;
}

function Action({ asked, all, onClose }: { asked: Asked; all: readonly Limit[]; onClose: () => void }) {
  const t = useTexts("limits");
  const queries = useQueryClient();
  const [amount, setAmount] = useState("");
  const [to, setTo] = useState("");
  const { act, limit, subject } = asked;
  const takers = all.filter((one) => one.measure === "money" && one.subject_id !== EACH && one.id !== limit.id);
  const name = subject ? `${limit.name} · ${subject.name}` : limit.name;

  async function submit() {
    await perform(asked, Number(amount), to);
    await queries.invalidateQueries({ queryKey: LIMITS });
    toast(t(`done.${act}`, { name, amount: formatAmount(limit.measure, Number(amount)) }));
    onClose();
  }

  const unready = (act === "topUp" && !(Number(amount) > 0)) || (act === "transfer" && (!(Number(amount) > 0) || to === ""));
  return (
    <FormDialog
      open
      onClose={onClose}
      title={t(`ask.${act}`, { name })}
      description={t(`askHint.${act}`)}
      submit={t(`act.${act}`)}
      kind={act === "remove" || act === "reset" ? "danger" : "primary"}
      disabled={unready}
      onSubmit={submit}
    >
      {(errors) =>
        act === "topUp" || act === "transfer" ? (
          <>
            <Field
              label={t(`add.${limit.measure}`)}
              error={errors.amount}
              {...(limit.use && act === "transfer" ? { hint: t("leftOf", { left: formatAmount(limit.measure, limit.use.left) }) } : {})}
            >
              {(ids) => <Input {...ids} autoFocus type="number" min={0} step={limit.measure === "money" ? "any" : 1} value={amount} onChange={(event) => setAmount(event.target.value)} />}
            </Field>
            {act === "transfer" ? (
              <Field label={t("to")} error={errors.to} {...(takers.length === 0 ? { hint: t("noTakers") } : {})}>
                {(ids) => (
                  <Select
                    {...ids}
                    value={to}
                    choices={[{ value: "", label: t("choose") }, ...takers.map((one) => ({ value: one.id, label: one.name }))]}
                    onChange={(event) => setTo(event.target.value)}
                  />
                )}
              </Field>
            ) : null}
          </>
        ) : null
      }
    </FormDialog>
  );
}

function perform({ act, limit, subject }: Asked, amount: number, to: string): Promise<unknown> {
  const params = { path: { limit_id: limit.id } };
  const whose = subject ? { subject_id: subject.id } : {};
  if (act === "topUp") return call(api.POST("/api/v1/limits/{limit_id}/top-up", { params, body: { amount, ...whose } }));
  if (act === "transfer") return call(api.POST("/api/v1/limits/{limit_id}/transfer", { params, body: { amount, to, ...whose } }));
  if (act === "reset") return call(api.POST("/api/v1/limits/{limit_id}/reset", { params, body: whose }));
  return call(api.DELETE("/api/v1/limits/{limit_id}", { params }));
}
