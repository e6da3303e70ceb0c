/** Arithmetic with vectors: how alike they are, and where they lie on a map of two dimensions. */

export type Vector = readonly number[];

/** The cosine of the angle between two vectors: 1 the same direction, 0 nothing in common. A vector of nothing is like none. */
export function cosine(one: Vector, other: Vector): number {
  const lengths = Math.sqrt(dot(one, one)) * Math.sqrt(dot(other, other));
  return lengths === 0 ? 0 : Math.max(-1, Math.min(1, dot(one, other) / lengths));
}

export function similarities(vectors: readonly Vector[]): number[][] {
  return vectors.map((one) => vectors.map((other) => (one === other ? 1 : cosine(one, other))));
}

function dot(one: Vector, other: Vector): number {
  return one.reduce((sum, value, place) => sum + value * (other[place] ?? 0), 0);
}

export interface Point {
  x: number;
  y: number;
}

export interface Plan {
  points: readonly Point[];
  /** How much of all variance the two axes show, from 0 to 1. */
  shown: number;
}

const MOST_STEPS = 300;
const CLOSE = 1e-12;

/** The two directions in which the vectors differ most (PCA), and where each lies along them. */
export function project(vectors: readonly Vector[]): Plan {
  const middle = mean(vectors);
  const moved = vectors.map((vector) => vector.map((value, place) => value - (middle[place] ?? 0)));
  // As many as there are texts, and not as there are dimensions: the products of the vectors have the same axes.
  const products = moved.map((one) => moved.map((other) => dot(one, other)));
  const whole = products.reduce((sum, row, place) => sum + (row[place] ?? 0), 0);
  const first = strongest(products);
  const second = strongest(without(products, first));
  const points = vectors.map((_, place) => ({ x: along(first, place), y: along(second, place) }));
  return { points, shown: whole <= CLOSE ? 1 : Math.min(1, (first.strength + second.strength) / whole) };
}

interface Axis {
  strength: number;
  direction: Vector;
}

function along(axis: Axis, place: number): number {
  return Math.sqrt(axis.strength) * (axis.direction[place] ?? 0);
}

function mean(vectors: readonly Vector[]): number[] {
  const first = vectors[0] ?? [];
  return first.map((_, place) => vectors.reduce((sum, vector) => sum + (vector[place] ?? 0), 0) / vectors.length);
}

/** The axis of a symmetric matrix along which it is strongest, by power iteration. */
function strongest(matrix: readonly Vector[]): Axis {
  // A start that is no multiple of an axis, and the same each time, so that a map does not turn when it is drawn again.
  let direction = unit(matrix.map((_, place) => 1 + Math.sin(place * 12.9898) * 0.5));
  let strength = 0;
  for (let step = 0; step < MOST_STEPS; step++) {
    const next = matrix.map((row) => dot(row, direction));
    const length = Math.sqrt(dot(next, next));
    if (length <= CLOSE) return { strength: 0, direction: direction.map(() => 0) };
    direction = next.map((value) => value / length);
    if (Math.abs(length - strength) <= CLOSE * length) break;
    strength = length;
  }
  return { strength, direction: facing(direction) };
}

/** Of the two ways that an axis may point, the one in which its largest share is positive. */
function facing(direction: Vector): Vector {
  const largest = direction.reduce((best, value) => (Math.abs(value) > Math.abs(best) + CLOSE ? value : best), 0);
  return largest < 0 ? direction.map((value) => -value) : direction;
}

function without(matrix: readonly Vector[], { strength, direction }: Axis): number[][] {
  return matrix.map((row, i) => row.map((value, j) => value - strength * (direction[i] ?? 0) * (direction[j] ?? 0)));
}

function unit(vector: Vector): Vector {
  const length = Math.sqrt(dot(vector, vector));
  return vector.map((value) => value / length);
}
