/** A page of a list, as every list of the API gives it. */
export interface Page<T> {
  readonly data: readonly T[];
  readonly next_cursor?: string | null;
  /** Of lists that look for something in a long history: since when they have looked; null: all of it. */
  readonly searched_until?: string | null;
}
