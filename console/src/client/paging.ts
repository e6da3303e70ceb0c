/** A page of a list, as every list of the API gives it. */
export interface Page<T> {
  readonly data: readonly T[];
  readonly next_cursor?: string | null;
}
