import { ImagePlus, SendHorizontal, Square, X } from "lucide-react";
import { type KeyboardEvent, useEffect, useRef, useState } from "react";

import { classes } from "@/shared/lib/classes";
import { useTexts } from "@/shared/lib/i18n";
import { Button, IconButton } from "@/shared/ui/button";
import { toast } from "@/shared/ui/toast";

import type { Picture } from "./conversation";
import type { Draft } from "./playground";
import { addressOf, MOST_PICTURES, PICTURE_TYPES, pictureFiles, readPicture } from "./pictures";

interface Props {
  label: string;
  /** What was written before, and where what is written is kept. */
  draft: Draft;
  onDraft: (draft: Draft) => void;
  /** Whether it was sent; what was not stays in the box. */
  onSend: (text: string, pictures: readonly Picture[]) => boolean;
  onStop: () => void;
  busy: boolean;
  small?: boolean;
}

const MOST_ROWS = 10;

/** Where a message is written: text and images, typed, pasted or dropped. */
export function Composer({ label, draft, onDraft, onSend, onStop, busy, small }: Props) {
  const t = useTexts("chat");
  const [{ text, pictures }, setWritten] = useState(draft);
  const [reading, setReading] = useState(0);
  const [over, setOver] = useState(false);
  const files = useRef<HTMLInputElement>(null);
  const ready = reading === 0 && (text.trim() !== "" || pictures.length > 0);

  useEffect(() => {
    onDraft({ text, pictures });
  });

  function write(changes: Partial<Draft>) {
    setWritten((old) => ({ ...old, ...changes }));
  }

  async function add(chosen: readonly File[]) {
    if (pictures.length + chosen.length > MOST_PICTURES) toast(t("tooManyPictures", { count: MOST_PICTURES }), "warn");
    setReading((count) => count + 1);
    for (const file of chosen.slice(0, MOST_PICTURES)) {
      const picture = await readPicture(file);
      if (picture === null) toast(t("noPicture", { name: file.name }), "danger");
      else setWritten((old) => ({ ...old, pictures: [...old.pictures, picture].slice(0, MOST_PICTURES) }));
    }
    setReading((count) => count - 1);
  }

  function send() {
    if (!ready || busy || !onSend(text.trim(), pictures)) return;
    write({ text: "", pictures: [] });
  }

  function onKey(event: KeyboardEvent) {
    // While a word is composed (Hindi, Japanese), Enter chooses it.
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    send();
  }

  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        void add(pictureFiles(event.dataTransfer));
      }}
      className={classes("bg-surface rounded-box shadow-box focus-within:border-accent border p-2", over ? "border-accent" : "border-line-strong")}
    >
      {pictures.length > 0 ? (
        <ul aria-label={t("pictures")} className="mb-2 flex flex-wrap gap-2">
          {pictures.map((picture, index) => (
            <li key={index} className="relative">
              <img src={addressOf(picture)} alt={t("pictureOf", { name: picture.name })} className="border-line size-14 rounded border object-cover" />
              <button
                type="button"
                aria-label={t("removePicture", { name: picture.name })}
                onClick={() => write({ pictures: pictures.filter((one) => one !== picture) })}
                className="bg-text text-surface absolute -top-1.5 -right-1.5 rounded-full p-0.5"
              >
                <X size={12} aria-hidden />
              </button>
            </li>
          ))}
        </ul>
      ) : null}
      <textarea
        aria-label={label}
        placeholder={over ? t("dropHere") : small ? t("composerOne") : t("placeholder")}
        value={text}
        rows={Math.min(MOST_ROWS, Math.max(small ? 1 : 2, text.split("\n").length))}
        onChange={(event) => write({ text: event.target.value })}
        onKeyDown={onKey}
        onPaste={(event) => {
          const pasted = pictureFiles(event.clipboardData);
          if (pasted.length === 0) return;
          event.preventDefault();
          void add(pasted);
        }}
        className="placeholder:text-faint block w-full resize-none bg-transparent px-1.5 py-1 leading-relaxed !outline-none"
      />
      <div className="flex items-center gap-2">
        <input
          ref={files}
          type="file"
          multiple
          hidden
          aria-label={t("attach")}
          accept={PICTURE_TYPES.join(",")}
          onChange={(event) => {
            void add([...(event.target.files ?? [])]);
            event.target.value = "";
          }}
        />
        <IconButton label={t("attach")} onClick={() => files.current?.click()}>
          <ImagePlus size={17} aria-hidden />
        </IconButton>
        {small ? null : <p className="text-faint hidden min-w-0 truncate text-[12px] md:block">{t("attachHint", { count: MOST_PICTURES })}</p>}
        <div className="grow" />
        {busy ? (
          <Button small={small ?? false} icon={<Square size={13} aria-hidden />} onClick={onStop}>
            {t("stop")}
          </Button>
        ) : (
          <Button small={small ?? false} kind="primary" type="submit" disabled={!ready} icon={<SendHorizontal size={14} aria-hidden />}>
            {t("send")}
          </Button>
        )}
      </div>
    </form>
  );
}
