import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { api, call } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { Field } from "@/shared/ui/field";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Input, Select } from "@/shared/ui/input";
import { toast } from "@/shared/ui/toast";

import { EACH, formatAmount, type Limit, LIMITS, type SubjectKind } from "./limits";
import type { Subjects } from "./subjects";

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
  subjects: Subjects;
  onClose: () => void;
}

/** Asks once more, does it, and says what became of it. */
export function LimitAction({ asked, ...rest }: Props) {
  return asked === null ? null : <Action key={`${asked.act}/${asked.limit.id}/${asked.subject?.id ?? ""}`} asked={asked} {...rest} />;
}

function Action({ asked, all, subjects, onClose }: Props & { asked: Asked }) {
  const t = useTexts("limits");
  const queries = useQueryClient();
  const [amount, setAmount] = useState("");
  const [to, setTo] = useState("");
  const [whose, setWhose] = useState("");
  const { act, limit, subject } = asked;
  const takers = all.filter((one) => one.measure === "money" && one.id !== limit.id);
  const each = takers.find((one) => one.id === to && one.subject_id === EACH);
  const name = subject ? `${limit.name} · ${subject.name}` : limit.name;

  async function submit() {
    await perform(asked, Number(amount), { to, ...(each ? { to_subject_id: whose } : {}) });
    await queries.invalidateQueries({ queryKey: LIMITS });
    toast(t(`done.${act}`, { name, amount: formatAmount(limit.measure, Number(amount)) }));
    onClose();
  }

  const unready = (act === "topUp" && !(Number(amount) > 0)) || (act === "transfer" && (!(Number(amount) > 0) || to === "" || (each !== undefined && whose === "")));
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
                    onChange={(event) => {
                      setTo(event.target.value);
                      setWhose("");
                    }}
                  />
                )}
              </Field>
            ) : null}
            {each ? <Whose kind={each.subject} subjects={subjects} value={whose} error={errors.to_subject_id} onChange={setWhose} /> : null}
          </>
        ) : null
      }
    </FormDialog>
  );
}

interface WhoseProps {
  kind: SubjectKind;
  subjects: Subjects;
  value: string;
  error: string | undefined;
  onChange: (value: string) => void;
}

/** Of a limit that each has for itself: whose counter gets the money. */
function Whose({ kind, subjects, value, error, onChange }: WhoseProps) {
  const t = useTexts("limits");
  const choices = subjects.choices(kind);
  return (
    <Field label={t(`subject.${kind}`)} error={error}>
      {(ids) =>
        choices === null ? (
          <Input {...ids} maxLength={256} value={value} onChange={(event) => onChange(event.target.value)} />
        ) : (
          <Select {...ids} value={value} choices={[{ value: "", label: t("chooseWhose") }, ...choices]} onChange={(event) => onChange(event.target.value)} />
        )
      }
    </Field>
  );
}

function perform({ act, limit, subject }: Asked, amount: number, taker: { to: string; to_subject_id?: string }): Promise<unknown> {
  const params = { path: { limit_id: limit.id } };
  const whose = subject ? { subject_id: subject.id } : {};
  if (act === "topUp") return call(api.POST("/api/v1/limits/{limit_id}/top-up", { params, body: { amount, ...whose } }));
  if (act === "transfer") return call(api.POST("/api/v1/limits/{limit_id}/transfer", { params, body: { amount, ...taker, ...whose } }));
  if (act === "reset") return call(api.POST("/api/v1/limits/{limit_id}/reset", { params, body: whose }));
  return call(api.DELETE("/api/v1/limits/{limit_id}", { params }));
}
