import type { Picture } from "./conversation";

export const MOST_PICTURES = 8;
export const PICTURE_TYPES = ["image/png", "image/jpeg", "image/gif", "image/webp"] as const;

const LONGEST_EDGE = 2_048;
const MOST_BYTES = 1_500_000;
const QUALITIES = [0.85, 0.7, 0.5] as const;

/** A picture as it is sent: as it is, or smaller where it is large. Null for what this browser cannot read. */
export async function readPicture(file: File): Promise<Picture | null> {
  const name = file.name || "image";
  try {
    const bitmap = await createImageBitmap(file);
    const known = (PICTURE_TYPES as readonly string[]).includes(file.type);
    if (known && file.size <= MOST_BYTES && Math.max(bitmap.width, bitmap.height) <= LONGEST_EDGE) {
      return { name, mediaType: file.type, data: await base64(file) };
    }
    return { name, mediaType: "image/jpeg", data: await base64(await smaller(bitmap)) };
  } catch {
    return null;
  }
}

async function smaller(bitmap: ImageBitmap): Promise<Blob> {
  const scale = Math.min(1, LONGEST_EDGE / Math.max(bitmap.width, bitmap.height));
  const canvas = new OffscreenCanvas(Math.round(bitmap.width * scale), Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  if (context === null) throw new Error("no canvas");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  let made = await canvas.convertToBlob({ type: "image/jpeg", quality: QUALITIES[0] });
  for (const quality of QUALITIES.slice(1)) {
    if (made.size <= MOST_BYTES) break;
    made = await canvas.convertToBlob({ type: "image/jpeg", quality });
  }
  return made;
}

function base64(blob: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result).split(",", 2)[1] ?? "");
    reader.onerror = () => reject(reader.error ?? new Error("unreadable"));
    reader.readAsDataURL(blob);
  });
}

export function addressOf(picture: Picture): string {
  return `data:${picture.mediaType};base64,${picture.data}`;
}

export function pictureFiles(data: DataTransfer | null): File[] {
  return [...(data?.files ?? [])].filter((file) => file.type.startsWith("image/"));
}
